(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const from = +document.body.dataset.from, until = +document.body.dataset.until;
  const WIDTH = 100000;
  document.documentElement.classList.add('on');
  const number = (n) => n == null ? '–' : Number(n).toLocaleString('en').replace(/,/g, '\u202f');
  const two = (n) => String(n).padStart(2, '0');
  const words = (ms, step) => {
    const t = new Date(ms), day = `${two(t.getUTCMonth() + 1)}-${two(t.getUTCDate())}`;
    const clock = `${two(t.getUTCHours())}:${two(t.getUTCMinutes())}`;
    if (step < 60) return `${clock}:${two(t.getUTCSeconds())}`;
    return step < 43200 ? clock : step < 86400 ? `${day} ${clock}` : day;
  };

  // What a chart says of a point, by its kind: times in milliseconds, and a function from their index to parts.
  const span = (node, text, bold) => {
    const part = document.createElement(bold ? 'b' : 'span');
    part.textContent = text;
    node.append(part, ' ');
  };
  const times = (column) => column.map((time) => Date.parse(time));
  const kinds = {
    occupancy: (at) => {
      const line = data.timelines[at], p = line.points;
      return { times: times(p.time), length: line.point_s * 1000, say: (i) => {
        const share = p.max[i] ? ` (${(100 * p.peak[i] / p.max[i]).toFixed(1)} %)` : '';
        return [`${number(p.peak[i])} of ${number(p.max[i])}${share}`, p.state[i], `${number(p.new[i])} new`, `${number(p.freed[i])} freed`];
      } };
    },
    incidents: (at) => {
      const line = data.timelines[at], p = line.points, per = line.point_s > 1;
      const most = (n, m) => per && n ? ` (at most ${number(m)} a second)` : '';
      return { times: times(p.time), length: line.point_s * 1000, say: (i) => [
        `${number(p.refused[i])} refused${most(p.refused[i], p.most_refused[i])}`,
        `${number(p.evicted[i])} evicted${most(p.evicted[i], p.most_evicted[i])}`,
        ...(p.failed[i] ? [`${number(p.failed[i])} not inserted`] : [])] };
    },
    holders: () => ({ times: times(data.holders.time), say: (i) => [
      ...data.holders.series.filter((s) => s.entries[i]).map((s) => `${s.src} ${number(s.entries[i])}`),
      ...(data.holders.other[i] == null ? [] : [`others ${number(data.holders.other[i])}`])] }),
    rates: () => ({ times: times(data.holders.time), say: (i) => data.holders.series
      .filter((s) => s.new_per_s[i] != null).map((s) => `${s.src} ${s.new_per_s[i].toFixed(1)}/s`) }),
  };

  let view = [from, until];
  const charts = [...document.querySelectorAll('.chart')].map((figure) => {
    const plot = figure.querySelector('.plot'), cross = document.createElement('div');
    cross.className = 'cross';
    cross.hidden = true;
    plot.append(cross);
    return { figure, plot, cross, svg: plot.querySelector('svg'), ticks: figure.querySelector('.ticks'),
      reading: figure.querySelector('.reading'), ...kinds[figure.dataset.kind](+figure.dataset.line) };
  });
  const reset = document.getElementById('reset');

  const marks = ({ ticks, svg }) => {
    const wide = ticks.clientWidth, spans = (view[1] - view[0]) / 1000;
    const steps = [.001, .01, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
    const step = steps.find((s) => spans / s < Math.max(2, wide / 95)) || spans / 8;
    ticks.replaceChildren();
    let grid = '';
    for (let at = Math.ceil(view[0] / 1000 / step) * step; at * 1000 <= view[1]; at += step) {
      const mark = document.createElement('span'), left = 100 * (at * 1000 - view[0]) / (view[1] - view[0]);
      mark.textContent = words(at * 1000, step) + (step < 1 ? (at % 1).toFixed(3).slice(1) : '');
      mark.style.left = `${left}%`;
      mark.style.display = 'block';
      mark.classList.toggle('first', left * wide / 100 < 24);
      mark.classList.toggle('last', (100 - left) * wide / 100 < 24);
      ticks.append(mark);
      grid += `M${WIDTH * (at * 1000 - from) / (until - from)} 0V1000`;
    }
    svg.querySelector('.grid').setAttribute('d', grid);
  };
  const look = (begin, end) => {
    const least = Math.min(1000, until - from);
    if (end - begin < least) { const middle = (begin + end) / 2; begin = middle - least / 2; end = middle + least / 2; }
    const length = Math.min(end - begin, until - from);
    begin = Math.min(Math.max(begin, from), until - length);
    view = [begin, begin + length];
    const x = (ms) => WIDTH * (ms - from) / (until - from);
    for (const chart of charts) {
      chart.svg.setAttribute('viewBox', `${x(view[0])} 0 ${x(view[1]) - x(view[0])} 1000`);
      chart.cross.hidden = true;
      marks(chart);
    }
    reset.disabled = length >= until - from;
  };

  // The last point that begins at or before a time.
  const find = (column, ms) => {
    let low = 0, high = column.length;
    while (low < high) { const middle = (low + high) >> 1; if (column[middle] <= ms) low = middle + 1; else high = middle; }
    return low - 1;
  };
  let pointed = null;
  const point = (ms) => {
    pointed = ms;
    for (const chart of charts) {
      const inside = ms != null && ms >= view[0] && ms <= view[1];
      chart.cross.hidden = !inside;
      chart.reading.replaceChildren();
      if (!inside) continue;
      chart.cross.style.left = `${100 * (ms - view[0]) / (view[1] - view[0])}%`;
      const at = Math.max(0, find(chart.times, ms));
      if (!chart.times.length) continue;
      const missing = data.known.missing.some((it) => (!it.from || Date.parse(it.from.time) <= ms) && (!it.until || Date.parse(it.until.time) > ms));
      const quiet = chart.length && ms >= chart.times[at] + chart.length;
      span(chart.reading, new Date(chart.times[at]).toISOString().replace('T', ' ').replace('.000', ''), true);
      if (missing) { span(chart.reading, 'not known'); continue; }
      const parts = chart.say(at);
      (parts.length ? parts : ['none is known']).forEach((text) => span(chart.reading, `· ${text}`));
      if (quiet) span(chart.reading, '· then nothing moved');
    }
  };

  for (const chart of charts) {
    const { plot } = chart;
    const time = (event) => {
      const box = plot.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      return view[0] + share * (view[1] - view[0]);
    };
    let begun = null, chosen = null;
    plot.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      begun = time(event);
      plot.setPointerCapture(event.pointerId);
      chosen = document.createElement('div');
      chosen.className = 'chosen';
      plot.append(chosen);
    });
    plot.addEventListener('pointermove', (event) => {
      const ms = time(event);
      point(ms);
      if (begun == null) return;
      const place = (at) => 100 * (at - view[0]) / (view[1] - view[0]);
      chosen.style.left = `${place(Math.min(begun, ms))}%`;
      chosen.style.width = `${Math.abs(place(ms) - place(begun))}%`;
    });
    const end = (event) => {
      if (begun == null) return;
      const [one, two] = [begun, time(event)].sort((a, b) => a - b);
      begun = null;
      chosen.remove();
      if (event.type === 'pointerup' && two - one > (view[1] - view[0]) / 100) look(one, two);
    };
    plot.addEventListener('pointerup', end);
    plot.addEventListener('pointercancel', end);
    plot.addEventListener('pointerleave', () => { if (begun == null) point(null); });
    plot.addEventListener('dblclick', () => look(from, until));
    const zoom = (middle, by) => look(middle - (middle - view[0]) * by, middle + (view[1] - middle) * by);
    plot.addEventListener('wheel', (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(time(event), Math.exp(Math.sign(event.deltaY) * .2));
    }, { passive: false });
    plot.addEventListener('keydown', (event) => {
      const step = (view[1] - view[0]) / 60, ms = pointed ?? (view[0] + view[1]) / 2;
      const move = { ArrowLeft: -step, ArrowRight: step }[event.key];
      if (move) point(Math.min(view[1], Math.max(view[0], ms + move)));
      else if (event.key === '+') zoom(ms, .7);
      else if (event.key === '-') zoom(ms, 1.4);
      else if (event.key === '0' || event.key === 'Escape') look(from, until);
      else return;
      event.preventDefault();
    });
  }
  reset.addEventListener('click', () => look(from, until));
  addEventListener('resize', () => look(...view));
  look(from, until);

  // A click on a head sorts; numbers by their value, all else by its text.
  const value = (row, at) => {
    const cell = row.cells[at], inner = cell.querySelector('data, time');
    const text = cell.dataset.v ?? inner?.value ?? inner?.dateTime ?? cell.textContent;
    const n = parseFloat(text);
    return inner?.dateTime || Number.isNaN(n) || /[.:].*[.:]/.test(text) ? text : n;
  };
  for (const table of document.querySelectorAll('.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const down = head.getAttribute('aria-sort') !== 'descending';
        heads.forEach((other) => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const rows = [...table.tBodies[0].rows];
        const order = (a, b) => typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true });
        rows.sort((a, b) => order(value(a, at), value(b, at)) * (down ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
