// Lets the search run where the site was opened from disk: browsers start no worker from a file, so
// the worker's script runs in a hidden frame instead. The name tells the plugin "offline" that its own,
// which would come from another host, is not needed.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #inside;

    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.#inside = new Promise((ready) => {
        frame.addEventListener("load", () => ready(this.#run(frame, address)), { once: true });
      });
      document.body.append(frame);
    }

    #run(frame, address) {
      const inside = frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = frame.contentDocument.createElement("script");
      script.src = address;
      const loaded = new Promise((done) => {
        script.addEventListener("load", () => done(inside));
      });
      frame.contentDocument.head.append(script);
      return loaded;
    }

    postMessage(data) {
      this.#inside.then((inside) =>
        inside.dispatchEvent(new inside.MessageEvent("message", { data })),
      );
    }

    terminate() {}
  };
}
