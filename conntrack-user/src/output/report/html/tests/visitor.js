(() => {
  const errors = [];
  addEventListener('error', (event) => errors.push(String(event.message)));
  addEventListener('securitypolicyviolation', (event) => errors.push(`${event.violatedDirective} ${event.blockedURI}`));
  const answer = { errors, dark: matchMedia('(prefers-color-scheme: dark)').matches };
  const root = document.documentElement;
  answer.width = [root.scrollWidth, innerWidth];
  answer.fits = root.scrollWidth <= innerWidth;
  const figures = [...document.querySelectorAll('.chart')];
  const at = (plot, share, type, more) => {
    const box = plot.getBoundingClientRect();
    plot.dispatchEvent(new PointerEvent(type, { clientX: box.left + share * box.width, clientY: box.top + 5, bubbles: true, pointerId: 1, ...more }));
  };
  // Capture asks for a pointer that is really down.
  Element.prototype.setPointerCapture = () => {};
  answer.readings = figures.map((figure) => {
    at(figure.querySelector('.plot'), .3, 'pointermove');
    return figure.querySelector('.reading').textContent;
  });
  answer.reads = answer.readings.length > 2 && answer.readings.every((text) => text.length > 20);
  const plot = figures[0].querySelector('.plot'), svg = plot.querySelector('svg'), before = svg.getAttribute('viewBox');
  at(plot, .2, 'pointerdown', { button: 0 });
  at(plot, .6, 'pointermove');
  at(plot, .6, 'pointerup');
  const boxes = new Set(figures.map((figure) => figure.querySelector('.plot svg').getAttribute('viewBox')));
  answer.zooms = boxes.size === 1 && svg.getAttribute('viewBox') !== before;
  document.getElementById('reset').click();
  answer.resets = svg.getAttribute('viewBox') === before;
  const table = document.querySelector('#victims .sortable'), column = () => [...table.tBodies[0].rows].map((row) => +row.cells[1].querySelector('data').value);
  table.tHead.rows[0].cells[1].querySelector('button').click();
  const down = column();
  table.tHead.rows[0].cells[1].querySelector('button').click();
  const up = column();
  answer.sorts = down.every((n, i) => !i || down[i - 1] >= n) && up.every((n, i) => !i || up[i - 1] <= n) && down[0] !== up[0];
  const pre = document.createElement('pre');
  pre.id = 'visited';
  pre.textContent = JSON.stringify(answer);
  document.body.append(pre);
})();
