"use strict";
// Draws each figure from the JSON that follows its placeholder. Text is text: nothing here writes HTML.
(function () {
  const config = { responsive: true, displayModeBar: false };
  const charts = Array.from(document.querySelectorAll(".chart"));
  charts.forEach(function (chart) {
    const figure = JSON.parse(document.getElementById(chart.dataset.figure).textContent);
    Plotly.newPlot(chart, figure.data, figure.layout, config);
  });
  // Charts are as wide as the screen; on paper they must fit the sheet. `Plots.resize` would come too late for that.
  window.addEventListener("beforeprint", function () {
    document.documentElement.classList.add("printing");
    charts.forEach(function (chart) { Plotly.relayout(chart, { width: chart.clientWidth }); });
  });
  window.addEventListener("afterprint", function () {
    document.documentElement.classList.remove("printing");
    charts.forEach(function (chart) { Plotly.relayout(chart, { width: null, autosize: true }); });
  });
})();
