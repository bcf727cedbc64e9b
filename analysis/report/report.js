// Draws every figure in the colours of the page, which is light or dark as the reader's system is.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const places = [...document.querySelectorAll(".plot")];
  const shade = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function inColours(layout) {
    const text = shade("--text"), line = shade("--line");
    const themed = {
      ...layout,
      font: { ...layout.font, color: text, family: "system-ui, sans-serif", size: 12 },
      hoverlabel: { bgcolor: shade("--card"), bordercolor: line, font: { color: text } },
      updatemenus: (layout.updatemenus || []).map(menu => ({
        ...menu, bgcolor: shade("--card"), bordercolor: line, font: { color: text },
      })),
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        themed[key] = { ...layout[key], gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line };
      }
    }
    return themed;
  }

  function draw() {
    for (const place of places) {
      const { data, layout } = figures[Number(place.dataset.figure)];
      const options = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
      Plotly.react(place, data, inColours(layout), options);
    }
    document.documentElement.dataset.drawn = places.length;
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
