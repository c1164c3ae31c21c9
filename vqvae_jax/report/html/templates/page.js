"use strict";

// The code maps: a grid of tokens for each image, and the codes that a token may be replaced by.
(function () {
  const source = document.getElementById("code-map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function picture(address) {
    const image = new Image();
    image.src = address;
    return image;
  }

  function show(map, index) {
    const rows = map.codes.length, columns = map.codes[0].length;
    const canvas = element("canvas", { width: map.size[0], height: map.size[1], role: "img" });
    const tokens = element("div", { class: "tokens", role: "group", "aria-label": `Codes of image ${index}` });
    tokens.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    const choices = element("div", { class: "codes", role: "group", "aria-label": "Replace the chosen token by" });
    const status = element("p", { class: "soft", "aria-live": "polite" }, "No token is chosen.");
    const base = picture(map.image);
    const changes = map.changes && picture(map.changes.image);
    const buttons = [];
    let chosen = null;

    function draw(replacement) {
      const context = canvas.getContext("2d");
      context.drawImage(base, 0, 0);
      let label = `Image ${index} as its codes give it`;
      if (chosen !== null && replacement !== null) {
        const [width, height] = map.changes.size, [x, y] = map.changes.corners[chosen];
        context.drawImage(changes, replacement * width, chosen * height, width, height, x, y, width, height);
        label += `, with code ${data.replacements[replacement].code} at ${place(chosen)}`;
      }
      canvas.setAttribute("aria-label", label);
    }

    function place(token) {
      return `row ${Math.floor(token / columns) + 1}, column ${(token % columns) + 1}`;
    }

    function told(token) {
      const code = map.codes[Math.floor(token / columns)][token % columns];
      return `${place(token)}: code ${code}, ${data.shares[code]} % of all tokens`;
    }

    function choose(token) {
      if (chosen !== null) buttons[chosen].setAttribute("aria-pressed", "false");
      chosen = token;
      buttons[token].setAttribute("aria-pressed", "true");
      for (const choice of choices.children) choice.setAttribute("aria-pressed", "false");
      status.textContent = `Chosen: ${told(token)}.`;
      draw(null);
    }

    function move(token) {
      for (const button of buttons) button.tabIndex = -1;
      buttons[token].tabIndex = 0;
      buttons[token].focus();
    }

    map.codes.flat().forEach((code, token) => {
      const button = element("button", { type: "button", "aria-label": told(token), "aria-pressed": "false" });
      button.title = told(token);
      button.tabIndex = token === 0 ? 0 : -1;
      button.style.background = data.colors[code];
      button.addEventListener("click", () => choose(token));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
        if (step === undefined || token + step < 0 || token + step >= rows * columns) return;
        event.preventDefault();
        move(token + step);
      });
      buttons.push(button);
      tokens.append(button);
    });

    if (changes) {
      data.replacements.forEach((replacement, number) => {
        const label = `code ${replacement.code}`;
        const button = element("button", { type: "button", "aria-pressed": "false", "aria-label": label },
          element("img", { src: replacement.image, alt: "" }), String(replacement.code));
        button.addEventListener("click", () => {
          if (chosen === null) return;
          for (const choice of choices.children) choice.setAttribute("aria-pressed", String(choice === button));
          status.textContent = `Chosen: ${told(chosen)}; replaced by ${label}.`;
          draw(number);
        });
        choices.append(button);
      });
    }

    base.addEventListener("load", () => draw(null));
    const parts = [
      element("div", {}, element("p", { class: "soft" }, "image"),
        element("img", { src: map.original, alt: `Held-out image ${index}` })),
      element("div", {}, element("p", { class: "soft" }, "its codes"), tokens),
      element("div", {}, element("p", { class: "soft" }, "what they give"), canvas),
    ];
    return element("div", {}, element("div", { class: "map" }, ...parts), status, choices);
  }

  document.getElementById("code-maps").append(...data.maps.map(show));
})();
