// Draws all figures in the colours of the page, which follow the reader's light or dark theme.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const cssColour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function withThemeColours(layout) {
    const text = cssColour("--text"), line = cssColour("--line");
    const themed = {
      ...layout,
      font: { ...layout.font, color: text, family: "system-ui, sans-serif", size: 12 },
      hoverlabel: { bgcolor: cssColour("--card"), bordercolor: line, font: { color: text } },
      updatemenus: (layout.updatemenus || []).map(menu => ({
        ...menu, bgcolor: cssColour("--card"), bordercolor: line, font: { color: text },
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
    for (const plot of plots) {
      const { data, layout } = figures[Number(plot.dataset.figure)];
      const options = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
      Plotly.react(plot, data, withThemeColours(layout), options);
    }
    document.documentElement.dataset.drawn = plots.length;
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
