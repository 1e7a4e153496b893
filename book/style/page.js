// Small things the theme's pages lack, on every page.
(() => {
  "use strict";

  const BOXES = [
    [".tb-scroll", "Formula, scrolls sideways"],
    [".pst-scrollable-table-container", "Table, scrolls sideways"],
  ];

  // Lets the keyboard into every box that really scrolls sideways, and out of those that fit: a formula or a table
  // is a named tab stop only while it is too wide. (The theme does this for code and outputs.)
  const update = (box, label) => {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", label);
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  };

  for (const [selector, label] of BOXES) {
    const observer = new ResizeObserver((entries) => {
      for (const { target } of entries) update(target, label);
    });
    for (const box of document.querySelectorAll(selector)) observer.observe(box);
  }

  // The download button saves the notebook; without this some browsers show its JSON in a new tab.
  for (const link of document.querySelectorAll(".btn-download-notebook-button")) {
    link.download = "";
    link.removeAttribute("target");
  }

  // Where a search is closed and the focus stays in it, as on a phone, it goes back to the button that opens it.
  const search = document.getElementById("pst-search-dialog");
  search?.addEventListener("close", () => {
    if (!search.contains(document.activeElement)) return;
    [...document.querySelectorAll(".search-button__button")].find((button) => button.checkVisibility())?.focus();
  });

  // Paper is light.
  const page = document.documentElement;
  let theme;
  addEventListener("beforeprint", () => {
    theme = page.dataset.theme;
    page.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    page.dataset.theme = theme;
  });
})();
