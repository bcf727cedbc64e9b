// Draws all figures in the colours of the page, which follow the reader's light or dark theme.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const PAPER_WIDTH = 670, PAPER_COLOURS = { "font.color": "#1c2430" };
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

  const fitted = within => plots.filter(plot => within.contains(plot)).forEach(plot => Plotly.Plots.resize(plot));
  const sections = [...document.querySelectorAll("details")];

  // A folded figure has no size: fit it when its section opens.
  for (const section of sections) {
    section.addEventListener("toggle", () => section.open && fitted(section));
  }

  function openTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const section = target && target.querySelector("details");
    if (section) {
      section.open = true;
      target.scrollIntoView();
    }
  }

  // Paper shows every section, with figures as wide as the page.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = sections.filter(section => !section.open);
    folded.forEach(section => { section.open = true; });
    plots.forEach(plot => Plotly.relayout(plot, { width: PAPER_WIDTH, ...PAPER_COLOURS }));
  });
  addEventListener("afterprint", () => {
    folded.forEach(section => { section.open = false; });
    draw();
  });

  draw();
  addEventListener("hashchange", openTarget);
  openTarget();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
