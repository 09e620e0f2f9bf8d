(() => {
  'use strict';
  const status = document.getElementById('status');
  const waiting = new Map();
  let last = Date.now(), lost = '';
  const say = (text, kind) => {
    if (status.textContent !== text) status.textContent = text;
    status.className = kind;
  };
  const seconds = () => Math.round((Date.now() - last) / 1000);
  const look = () => {
    if (lost) say(`${lost}; these numbers are ${seconds()} s old`, 'late');
    else if (seconds() > 4) say(`nothing new for ${seconds()} s`, 'late');
    else say('live', 'live');
  };
  // What somebody is marking is left alone until they are done.
  const marked = (node) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(node, true);
  };
  const source = new EventSource('live');
  source.addEventListener('parts', (event) => {
    const { title, ...parts } = JSON.parse(event.data);
    last = Date.now();
    lost = '';
    if (title) document.title = title;
    for (const [id, html] of Object.entries(parts)) waiting.set(id, html);
    for (const [id, html] of waiting) {
      const node = document.getElementById(id);
      if (!node || marked(node)) continue;
      const kept = [...node.querySelectorAll('.scroll, .lines')].map((it) => it.scrollLeft);
      node.innerHTML = html;
      node.querySelectorAll('.scroll, .lines').forEach((it, at) => { it.scrollLeft = kept[at] || 0; });
      waiting.delete(id);
    }
    look();
  });
  source.addEventListener('error', () => {
    lost = source.readyState === EventSource.CLOSED ? 'not let in: reload the page' : 'connection lost, trying again';
    look();
  });
  setInterval(look, 1000);
})();
