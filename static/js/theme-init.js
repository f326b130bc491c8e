// Classic script in <head>: sets the chosen theme before the first paint. theme.js owns the control.
(() => {
  try {
    const theme = localStorage.getItem("ms.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage can be switched off; the system theme then applies.
  }
})();
