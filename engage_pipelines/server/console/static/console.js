// What the console does in the browser beyond links and forms. Everything works without it, page by page.
(() => {
  "use strict";

  // dialogs that arrive are opened, and leave the page when they are closed, so that nothing in them goes on asking
  // where the focus was before the first dialog of its place: later ones come from links inside the one before
  const openers = new Map();
  const open = (root) => {
    for (const dialog of root.querySelectorAll("dialog[data-open]")) {
      if (dialog.open) continue;
      const place = dialog.parentElement;
      const from = document.activeElement;
      if (from && from !== document.body && !place.contains(from)) openers.set(place.id, from);
      dialog.showModal();
      dialog.addEventListener("close", () => {
        dialog.remove();
        const opener = openers.get(place.id);
        const back = opener && (opener.isConnected ? opener : document.getElementById(opener.id));
        if (back) back.focus();
      });
      dialog.addEventListener("click", (event) => {
        const box = dialog.getBoundingClientRect();
        const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
        if (event.target === dialog && !inside) dialog.close();
      });
      const first = dialog.querySelector("[aria-invalid=true], [autofocus]");
      if (first) first.focus();
      // an answer below a long form
      if (first && first.tabIndex < 0) first.scrollIntoView();
    }
  };
  document.addEventListener("htmx:afterSwap", () => open(document));

  // the place of an error in a definition: the line and column it names are selected in the editor
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-goto]");
    if (!button) return;
    const editor = document.getElementById(button.dataset.goto);
    const lines = editor.value.split("\n");
    const line = Number(button.dataset.line) - 1;
    const start = lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0) + Number(button.dataset.column) - 1;
    editor.focus();
    editor.setSelectionRange(start, Math.min(start + 1, editor.value.length));
  });

  // Ctrl+Enter in an editor asks for its preview
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.matches("textarea")) return;
    const button = event.target.form && event.target.form.querySelector("[data-preview]");
    if (button) { event.preventDefault(); button.click(); }
  });

  // all of a list at once
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    for (const box of event.target.form.querySelectorAll("input[name=chosen]")) box.checked = event.target.checked;
  });

  // a button that was pressed is not pressed again while its answer is awaited
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method === "dialog" || event.target.method === "get") return;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  open(document);
})();
