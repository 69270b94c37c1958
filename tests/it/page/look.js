// What can be seen to be wrong with a page by a machine, in the size, scheme and direction in which it stands.
// Answers a list of sentences; an empty one is a page in order.
const wrong = [];
const root = document.documentElement;
const all = Array.from(document.body.querySelectorAll('*'));
const name = element => `${element.localName}#${element.id}.${element.getAttribute('class') || ''} "${element.textContent.trim().slice(0, 40)}"`;
const shown = element => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest('.hear, script, style, svg');

if (root.scrollWidth > innerWidth) { wrong.push(`it is ${root.scrollWidth} wide in a window of ${innerWidth}`); }
for (const element of all.filter(shown)) {
  const box = element.getBoundingClientRect();
  if (box.width && (box.left < -0.5 || box.right > innerWidth + 0.5)) { wrong.push(`${name(element)} stands beyond the edge: ${box.left} to ${box.right}`); }
}

// Larger text must not push anything out of the window (WCAG 1.4.4), and it may be spaced (1.4.12).
root.style.fontSize = '200%';
if (root.scrollWidth > innerWidth) { wrong.push(`with text of 200 % it is ${root.scrollWidth} wide in a window of ${innerWidth}`); }
root.style.fontSize = '';
const spaced = new CSSStyleSheet();
spaced.replaceSync('*{line-height:1.5!important;letter-spacing:.12em!important;word-spacing:.16em!important}p{margin-bottom:2em!important}');
document.adoptedStyleSheets = [spaced];
if (root.scrollWidth > innerWidth) { wrong.push(`with spaced text it is ${root.scrollWidth} wide in a window of ${innerWidth}`); }
for (const element of all.filter(shown)) {
  if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflow !== 'visible') { wrong.push(`${name(element)} cuts its spaced text`); }
}
document.adoptedStyleSheets = [];

// Contrast of every text with whatever is behind it, both ends of the page's own shade included (1.4.6).
const rgb = colour => { const [r, g, b, a] = colour.match(/[\d.]+/g).map(Number); return { r, g, b, a: a === undefined ? 1 : a }; };
const luminance = ({ r, g, b }) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (one, other) => { const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b); return (high + 0.05) / (low + 0.05); };
const hex = value => { const n = parseInt(value.trim().slice(1), 16); return { r: n >> 16, g: n >> 8 & 255, b: n & 255, a: 1 }; };
const grounds = element => {
  for (let at = element; at && at !== document.body; at = at.parentElement) {
    const ground = rgb(getComputedStyle(at).backgroundColor);
    if (ground.a === 1) { return [ground]; }
    if (ground.a > 0) { wrong.push(`${name(at)} is half transparent: its contrast can't be told`); }
  }
  // Of a theme, its one colour.
  const known = ['--sky', '--bg'].map(known => getComputedStyle(root).getPropertyValue(known));
  return known.every(Boolean) ? known.map(hex) : [rgb(getComputedStyle(document.body).backgroundColor)];
};
for (const element of all.filter(shown)) {
  const speaks = Array.from(element.childNodes).some(node => node.nodeType === 3 && node.textContent.trim());
  if (!speaks) { continue; }
  const least = Math.min(...grounds(element).map(ground => contrast(rgb(getComputedStyle(element).color), ground)));
  if (least < 7) { wrong.push(`${name(element)} has a contrast of ${least.toFixed(2)}`); }
  if (parseFloat(getComputedStyle(element).fontSize) < 14) { wrong.push(`${name(element)} is written too small`); }
}

// What can be pressed is large enough (2.5.8 asks for 24, 2.5.5 for 44).
for (const element of document.querySelectorAll('a, button, summary, input:not([type=hidden]), select')) {
  if (!shown(element)) { continue; }
  const box = (element.closest('label') || element).getBoundingClientRect();
  const inText = element.localName === 'a' && !element.classList.contains('button') && getComputedStyle(element).display === 'inline';
  // Eight squares of a board have no more room on a telephone; the field for the move does the same (2.5.5, equivalent).
  const least = element.closest('#board') ? 32 : 44;
  if (!inText && (box.width < least || box.height < least)) { wrong.push(`${name(element)} is ${box.width} by ${box.height}`); }
}

if (document.querySelectorAll('h1').length !== 1 || !document.querySelector('h1').textContent.trim()) { wrong.push('it has not one headline'); }
if (!document.title.trim()) { wrong.push('its tab has no title'); }
if (!root.lang || !/^(ltr|rtl)$/.test(root.dir)) { wrong.push('it names no language or direction'); }
if (getComputedStyle(document.body).direction !== root.dir) { wrong.push('it does not run in its direction'); }
if (/[{}]|undefined|NaN/.test(document.body.innerText + document.title)) { wrong.push('it shows a place that nothing filled'); }
const loaded = performance.getEntriesByType('resource').filter(entry => !['fetch', 'eventsource', 'other'].includes(entry.initiatorType) && !entry.name.includes('/__anteroom/widget.js?')).map(entry => entry.name);
if (loaded.length) { wrong.push(`it loaded ${loaded}`); }
return wrong;
