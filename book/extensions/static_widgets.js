// Mounts the anywidgets of a page that has no kernel: the page's JSON holds their state, modules and styles.
(() => {
  "use strict";

  /** As much of a Jupyter widget model as a widget's module uses. Views of one model share one of these. */
  class Model {
    constructor(state) {
      this.state = state;
      this.listeners = new Map();
    }

    get(name) {
      return this.state[name];
    }

    set(name, value) {
      const changes = typeof name === "string" ? { [name]: value } : name;
      const changed = Object.keys(changes).filter(
        (key) => JSON.stringify(this.state[key]) !== JSON.stringify(changes[key]),
      );
      Object.assign(this.state, changes);
      for (const key of changed) this.emit(`change:${key}`, this.state[key]);
      if (changed.length > 0) this.emit("change");
    }

    on(names, listener) {
      for (const name of names.split(/\s+/)) {
        this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
      }
    }

    off(names, listener) {
      for (const name of names ? names.split(/\s+/) : this.listeners.keys()) {
        const kept = listener ? (this.listeners.get(name) ?? []).filter((other) => other !== listener) : [];
        this.listeners.set(name, kept);
      }
    }

    emit(name, ...details) {
      for (const listener of this.listeners.get(name) ?? []) listener(this, ...details);
    }

    // There is no kernel to save to or to talk to.
    save_changes() {}

    send() {}
  }

  async function mount(box, model, module) {
    const { default: widget } = await module;
    const { initialize, render } = typeof widget === "function" ? await widget() : widget;
    model.ready ??= initialize?.({ model });
    await model.ready;
    const el = document.createElement("div");
    await render({ model, el });
    box.append(el);
    box.querySelector(".tb-widget-alternative").hidden = true;
    box.dataset.tbMounted = "true";
  }

  const data = JSON.parse(document.getElementById("tb-widget-data").textContent);
  for (const text of data.styles) {
    document.head.append(Object.assign(document.createElement("style"), { textContent: text }));
  }
  // A page opened from a file may not import a module by its address, but may import one from a blob.
  const modules = data.modules.map((text) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    return import(url).finally(() => URL.revokeObjectURL(url));
  });
  const models = new Map(Object.entries(data.models).map(([name, { state }]) => [name, new Model(state)]));
  for (const box of document.querySelectorAll(".tb-widget[data-tb-model]")) {
    const name = box.dataset.tbModel;
    mount(box, models.get(name), modules[data.models[name].module]).catch((error) => {
      box.dataset.tbMounted = "false"; // its text alternative stays
      console.error(`widget ${name} of this page could not be shown:`, error);
    });
  }
})();
