(function () {
'use strict';
// Moves a man by pressing it and then its square, and writes that into the field. Nothing is sent before the button is
// pressed, and a man that was moved is put back when another is chosen. It knows no rule but whose men are white.
var doc = document, id = function (name) { return doc.getElementById(name); };
var board = id('board'), field = id('step'), say = id('say'), squares = [], from = null, moved = null;
board.setAttribute('role', 'grid');
Array.prototype.forEach.call(board.querySelectorAll('tbody td'), function (cell) {
  var man = cell.querySelector('svg'), button = doc.createElement('button');
  button.type = 'button';
  button.tabIndex = squares.length ? -1 : 0;
  button.setAttribute('aria-label', man ? man.getAttribute('aria-label') : cell.id);
  if (man) { man.setAttribute('aria-hidden', 'true'); button.appendChild(man); }
  cell.appendChild(button);
  squares.push(button);
});
function place(button) { return button.parentNode.id; }
function man(button) { return button.querySelector('svg'); }
function isWhite(button) { return man(button) && man(button).getAttribute('class') === 'white'; }
function tell(words) { if (say.textContent !== words) { say.textContent = words; } }
function choose(button) {
  if (from) { from.removeAttribute('aria-pressed'); }
  from = button;
  if (from) { from.setAttribute('aria-pressed', 'true'); tell(from.getAttribute('aria-label')); }
}
function back() {
  if (!moved) { return; }
  moved.man.lastChild.setAttribute('href', moved.was);
  moved.from.appendChild(moved.man);
  if (moved.taken) { moved.to.appendChild(moved.taken); }
  moved.to.removeAttribute('class');
  moved.from.removeAttribute('class');
  moved = null;
}
function move(to) {
  var step = { from: from, to: to, man: man(from), taken: man(to) };
  step.was = step.man.lastChild.getAttribute('href');
  choose(null);
  if (step.taken) { to.removeChild(step.taken); }
  to.appendChild(step.man);
  // No position of ours asks for less than a queen.
  if (step.was === '#p' && place(to).charAt(1) === '8') { step.man.lastChild.setAttribute('href', '#q'); }
  to.className = step.from.className = 'went';
  moved = step;
  field.value = place(step.from) + place(to);
  tell(step.from.getAttribute('aria-label') + ' \u2192 ' + place(to));
  id('play').focus({ preventScroll: true });
}
function press(button) {
  back();
  field.value = '';
  if (button === from) { return choose(null); }
  if (isWhite(button)) { return choose(button); }
  if (from) { move(button); }
}
function go(to) {
  squares.forEach(function (button) { button.tabIndex = button === to ? 0 : -1; });
  to.focus();
}
board.addEventListener('click', function (event) {
  var at = event.target;
  while (at && at !== board && at.localName !== 'button') { at = at.parentNode; }
  if (at && at !== board) { go(at); press(at); }
});
board.addEventListener('keydown', function (event) {
  var at = squares.indexOf(doc.activeElement), key = event.key;
  if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) { return; }
  if (key === 'Escape') { back(); choose(null); field.value = ''; return; }
  var file = at % 8, to = { ArrowLeft: file > 0 && at - 1, ArrowRight: file < 7 && at + 1, ArrowUp: at > 7 && at - 8, ArrowDown: at < 56 && at + 8, Home: at - file, End: at - file + 7 }[key];
  if (to === undefined) { return; }
  event.preventDefault();
  if (to !== false) { go(squares[to]); }
});
field.addEventListener('input', function () { back(); choose(null); });
})();
