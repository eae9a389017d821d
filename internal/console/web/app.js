// Refreshes the page's figures every few seconds. Without it everything works, by reloading.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const box = document.getElementById("live");
  if (!box) return;
  box.checked = localStorage.getItem("live") !== "off";
  box.addEventListener("change", () => localStorage.setItem("live", box.checked ? "on" : "off"));

  const busy = () => {
    const main = document.querySelector("main");
    const at = document.activeElement;
    return document.hidden || !box.checked || main.querySelector("input[type=checkbox]:checked, details[open]") ||
      (main.contains(at) && /^(INPUT|SELECT|TEXTAREA|BUTTON)$/.test(at.tagName));
  };
  const refresh = async () => {
    if (!busy()) {
      try {
        const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
        if (answer.ok && !busy()) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
          const main = document.querySelector("main");
          if (fresh && fresh.innerHTML !== main.innerHTML) main.replaceWith(fresh);
        }
      } catch { /* the console is away for a moment; the next turn tries again */ }
    }
    setTimeout(refresh, 3000);
  };
  setTimeout(refresh, 3000);
})();
