"use strict";
// Draws each figure from the JSON that follows its placeholder. Text is text: nothing here writes HTML.
(function () {
  const config = { responsive: true, displayModeBar: false };
  const charts = Array.from(document.querySelectorAll(".chart"));
  charts.forEach(function (chart) {
    const figure = JSON.parse(document.getElementById(chart.dataset.figure).textContent);
    Plotly.newPlot(chart, figure.data, figure.layout, config);
  });
  // On paper a chart has another width than on the screen.
  function refit() {
    charts.forEach(function (chart) { Plotly.Plots.resize(chart); });
  }
  window.addEventListener("beforeprint", refit);
  window.addEventListener("afterprint", refit);
})();
