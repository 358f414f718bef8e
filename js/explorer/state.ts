/** The traits of `nbviz.Explorer` (`nbviz/widgets/explorer_choices.py`), and what embeds views. */

/** Why a pane cannot be, and the line of Python that helps; empty where none is known. */
export interface Lacking {
  text: string;
  code: string;
}

export interface Chosen {
  layer: string;
  channel: number;
  unit: number[];
  image: number;
}

export interface State extends Chosen {
  panes: string[];
  columns: number;
  titles: Record<string, string>;
  /** references to the views of panes, by name */
  children: Record<string, string>;
  lacking: Record<string, Lacking>;
  /** what is chosen in all panes: [what, which] */
  chosen: [string, string][];
  problem: string;
}

export interface Model {
  get<K extends keyof State>(name: K): State[K];
  set<K extends keyof State>(name: K, value: State[K]): void;
  save_changes(): void;
}

/** What a host gives to a view that holds others: anywidget from 0.11, marimo, pages that were saved. */
export interface Host {
  getWidget(reference: string): Promise<{
    render(options: { el: HTMLElement; signal: AbortSignal }): Promise<void>;
  }>;
}
