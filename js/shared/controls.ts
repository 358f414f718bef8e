/** Small labelled controls, built as DOM nodes; text is only ever set as text. */

type Children = (Node | string)[];

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Children
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(tag), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | number>,
  ...children: Children
): SVGElementTagNameMap[K] {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return filled(node, attributes, children);
}

function filled<E extends Element>(
  node: E,
  attributes: Record<string, string | number>,
  children: Children,
): E {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** Hand a file to the browser to save. */
export function download(name: string, type: string, bytes: Uint8Array<ArrayBuffer>): void {
  const address = URL.createObjectURL(new Blob([bytes], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export interface Choice {
  value: string;
  label: string;
  disabled?: boolean;
}

export interface Select {
  node: HTMLLabelElement;
  /** Show these choices with this one chosen; a choice that is not offered shows as none. */
  show(choices: Choice[], value: string): void;
}

export function select(label: string, choose: (value: string) => void): Select {
  const list = element("select");
  list.addEventListener("change", () => choose(list.value));
  let shown = "";
  return {
    node: labelled(label, list),
    show(choices, value) {
      const key = JSON.stringify(choices);
      if (key !== shown) {
        shown = key;
        list.replaceChildren(
          ...choices.map((choice) => {
            const option = element("option", { value: choice.value }, choice.label);
            option.disabled = choice.disabled ?? false;
            return option;
          }),
        );
      }
      list.value = value;
    },
  };
}

/** A control with its name beside it. */
export function labelled(text: string, input: HTMLElement): HTMLLabelElement {
  return element("label", { class: "control" }, element("span", {}, text), input);
}

export function button(
  text: string,
  label: string,
  press: () => void,
  className = "button",
): HTMLButtonElement {
  const node = element(
    "button",
    { type: "button", class: className, title: label, "aria-label": label },
    text,
  );
  node.addEventListener("click", press);
  return node;
}

/** New children only where something changed: a button that has the focus keeps it. */
export function rebuild(parent: HTMLElement, key: string, children: () => Children): void {
  if (parent.dataset.key === key) return;
  parent.dataset.key = key;
  parent.replaceChildren(...children());
}
