slider.setAttribute("aria-valuemin", data.labels[0]);
slider.setAttribute("aria-valuemax", data.labels[last]);
at("main").hidden = false;
at("main").classList.toggle("bare", data.bare);
new ResizeObserver(draw).observe(at("plot"));
draw();
select(chosen);
