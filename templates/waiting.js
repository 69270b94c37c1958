(function () {
'use strict';
// The waiting page's own hands: asks for the wake, follows it, and opens the site when it answers. All words and
// all facts come from the data block; nothing here invents a stage. For browsers since 2017.
var doc = document, id = function (name) { return doc.getElementById(name); };
var data = JSON.parse(id('state').textContent), text = data.text;
var root = '/__anteroom/', stageNames = ['asked', 'machine_starting', 'machine_up', 'app_answering'];
var state = data.state, since = now();   // the last status, and when it came
var shown = 0;                           // the bar never falls below this
var said = {}, saidAt = [], begun = false; // what was announced, and when lately; what is there first is read anyway
var wantsWake = data.wake_by === 'page' || data.wake_by === 'challenge'; // it asks once by itself, without a press
var proof = '', proving = false;         // what the room's challenge asked for
var walked = false;                      // it has shown a wake under way
var asking = false, askingEnds = 0, asks = 0, refusal = null, opening = false, byHand = data.unsent;
var paused = false, source = null, pollTimer = 0, checkTimer = 0, failures = 0, checks = 0, streamed = 0;
var heardAt = since;                     // when a status last came, by whichever way
var letGo = null, waitsForTurn = false;  // the browser's one stream: this page has it, or waits for it
var nonce = id('form').elements.nonce.value; // of this page only
var numbered = false, turnWait = 0, turnAt = null, turnTimer = 0, turns = 0, turnFailures = 0; // its place among those who wait
var plural = window.Intl && Intl.PluralRules ? new Intl.PluralRules(text.lang) : null;

function now() { return window.performance && performance.now ? performance.now() : Date.now(); }
function later(ms, what) { return setTimeout(what, ms); }
function jitter(ms) { return ms * (1 + 2 * Math.random()); }
function fill(pattern, values) {
  return pattern.replace(/\{(\w+)\}/g, function (_, name) { return name === 'host' ? data.host : values ? values[name] : ''; });
}
function time(ms) {
  var s = Math.max(0, Math.ceil(ms / 1000));
  if (s >= 300) { s = Math.ceil(s / 60) * 60; }
  var h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  s %= 60;
  var units = text.units, first = h ? counted(h, units.hours) : counted(m, units.minutes);
  if (!h && !m) { return counted(s, units.seconds); }
  if (h ? !m : !s) { return first; }
  return fill(units.pair, { first: first, second: h ? counted(m, units.minutes) : counted(s, units.seconds) });
}
// A number with its unit, in the form that the language wants; without the browser's rules, in the commonest one.
function counted(number, forms) {
  var digits = String(number).replace(/\d/g, function (digit) { return text.digits.charAt(digit); });
  return fill(plural && forms[plural.select(number)] || forms.other, { n: digits });
}
// Touches the page only where it changes, so that nothing is read out twice.
function put(element, words) { if (element.textContent !== words) { element.textContent = words; } }
// The same with the host in it, which runs in its own direction and breaks behind a point.
function phrase(element, pattern, values) {
  if (element.textContent === fill(pattern, values)) { return; }
  element.textContent = '';
  pattern.split('{host}').forEach(function (part, i) {
    if (i) {
      var host = element.appendChild(doc.createElement('bdi'));
      data.host.split('.').forEach(function (label, j) {
        if (j) { host.appendChild(doc.createTextNode('.')); host.appendChild(doc.createElement('wbr')); }
        host.appendChild(doc.createTextNode(label));
      });
    }
    element.appendChild(doc.createTextNode(fill(part, values)));
  });
}
function show(element, yes) { if (element.hidden === yes) { element.hidden = !yes; } }

// What is not the case yet, and what only a script can do, is not in the document: browsers of text show what is
// hidden. So it is made here, where it is missing.
function make(parent, before, tag, attributes, words) {
  var element = doc.createElement(tag);
  for (var name in attributes) { element.setAttribute(name, attributes[name]); }
  if (words) { element.textContent = words; }
  return parent.insertBefore(element, before);
}
var main = id('main'), form = id('form');
if (!id('bar')) { make(main, id('times'), 'progress', { id: 'bar', max: 100, 'aria-label': text.progress }); }
if (!id('stages')) {
  var list = make(main, id('next'), 'ol', { id: 'stages', 'aria-label': text.stages_label });
  text.stages.forEach(function (label) { make(make(list, null, 'li', {}, label), null, 'span', { 'class': 'hear' }); });
}
var start = id('start') || make(form, null, 'button', { id: 'start' });
var controls = make(main, id('say'), 'div', { 'class': 'controls' });
var autobox = make(controls, null, 'label');
var auto = make(autobox, null, 'input', { type: 'checkbox', id: 'auto' });
auto.checked = true;
make(autobox, null, 'span', {}, text.controls.auto);
make(controls, null, 'button', { type: 'button', id: 'pause', 'class': 'quiet' });

// --- What is shown

function elapsed() { return state.elapsed_ms + (now() - since); }
function onItsWay() { return state.scene === 'waking' || state.scene === 'crashed'; }
function canBeAsked() { return state.scene === 'asleep' || state.scene === 'stopping' || state.scene === 'failed'; }
function isReady() { return state.scene === 'ready'; }

// The curve of the engine's `eta::percent`, so that the bar moves between two statuses.
function percent() {
  if (isReady()) { return 100; }
  if (!onItsWay()) { return 0; }
  var usual = state.eta ? Math.max(state.eta.median_ms, 1000) : 30000, over = elapsed() - usual;
  var byTime = over <= 0 ? elapsed() * 80 / usual : 80 + 15 * over / (over + usual);
  return Math.min(99, Math.max(byTime, [2, 8, 30, 97][stageNames.indexOf(state.stage)] || 0));
}
function eta() {
  if (!onItsWay() && state.scene !== 'asleep') { return ''; }
  if (!state.eta) { return onItsWay() ? text.eta_none : ''; }
  if (isOver()) { return text.eta_over; }
  var bound = state.eta.p90_ms, values = { median: time(state.eta.median_ms), p90: bound === null ? '' : time(bound) };
  return fill(bound === null || values.median === values.p90 ? text.eta_even : text.eta, values);
}
// No bound is told before there were enough wakes.
function isOver() { return onItsWay() && state.eta && state.eta.p90_ms !== null && elapsed() > state.eta.p90_ms; }
// The scene with what only this page knows.
function scene() {
  if (isReady()) { return data.unsent ? 'ready_unsent' : !auto.checked || byHand ? 'ready_by_hand' : 'ready'; }
  if (refusal && canBeAsked()) { return refusal.kind; }
  return state.scene === 'asleep' && (asking || wantsWake) ? 'asking' : state.scene;
}
function icon() {
  if (isReady()) { return data.icons.open; }
  if (onItsWay()) { return data.icons.ajar; }
  return state.scene === 'failed' || state.scene === 'unhealthy' ? data.icons.fault : data.icons.shut;
}
function nextTry() {
  if (inLine()) { return fill(text.turn, { time: time(turnAt - now()) }); }
  if (proving) { return text.challenge.working; }
  if (state.scene !== 'failed' || refusal) { return ''; }
  if (state.next_try_ms === null) { return asking ? text.next_try_now : text.next_try_none; }
  var left = state.next_try_ms - (now() - since);
  return left > 0 ? fill(text.next_try, { time: time(left) }) : text.next_try_now;
}
function drawStages() {
  var last = isReady() ? (opening && !inLine() ? 4 : 3) : stageNames.indexOf(state.stage), items = id('stages').children;
  for (var i = 0; i < items.length; i++) {
    var mark = i < last ? 0 : i === last ? 1 : 2;
    items[i].className = ['done', 'now', 'later'][mark];
    put(items[i].lastChild, ', ' + text.marks[mark]);
    if (mark === 1) { items[i].setAttribute('aria-current', 'step'); } else { items[i].removeAttribute('aria-current'); }
  }
}
function draw() {
  var shows = scene(), w = text.scenes[shows], times = { time: time(refusal ? refusal.until - now() : 0) };
  var lead = shows === 'failed' ? text.failures[state.failure] || '' : w.lead;
  if (main.getAttribute('data-scene') !== shows) { main.setAttribute('data-scene', shows); }
  phrase(id('heading'), w.heading);
  phrase(id('lead'), lead, times);
  if (doc.title !== fill(w.title)) { doc.title = fill(w.title); }
  if (id('icon').getAttribute('href') !== icon()) { id('icon').setAttribute('href', icon()); }

  walked = walked || onItsWay();
  shown = onItsWay() || isReady() ? Math.max(shown, percent()) : 0;
  id('bar').value = shown;
  show(id('bar'), onItsWay() || (isReady() && walked));
  show(id('stages'), onItsWay() || (isReady() && walked));
  drawStages();
  // The door opens as far as the bar is.
  var door = id('door'), way = onItsWay() ? shown / 100 : isReady() ? 1 : 0;
  if (door) { // A theme has none.
    door.style.setProperty('--open', isReady() ? 1 : way * 0.55);
    door.style.setProperty('--light', way ? Math.min(1, 0.5 + way * 0.6) : 0);
  }

  put(id('elapsed'), onItsWay() ? fill(text.elapsed, { time: time(Math.floor(elapsed() / 1000) * 1000) }) : '');
  put(id('eta'), refusal ? '' : eta());
  put(id('next'), nextTry());
  if (refusal && refusal.kind === 'limited' && refusal.until <= now()) { refusal = null; }
  drawForm();
  announce(shows, fill(w.heading), fill(lead, times));
}
function drawForm() {
  var hand = isReady() && !opening && (data.unsent || byHand || !auto.checked);
  var press = canBeAsked() && !asking && !refusal && !(wantsWake && state.scene !== 'failed');
  // Whoever pressed the button is not left nowhere when it goes.
  if (!hand && !press && !form.hidden && form.contains(doc.activeElement)) { id('heading').focus({ preventScroll: true }); }
  show(form, hand || press);
  put(start, hand ? (data.unsent ? text.controls.back : text.controls.open) : state.scene === 'failed' ? text.controls.retry : text.controls.start);
  show(autobox, !data.unsent);
  put(id('pause'), paused ? text.controls.resume : text.controls.pause);
}
// Each scene and each stage once, as a whole sentence, and once that it takes longer; at most four in a minute, of
// which the last is kept for an end. What passes meanwhile is not told late.
function announce(shows, heading, lead) {
  var over = isOver();
  var key = shows + '/' + state.stage + (over ? '/over' : '');
  if (said[key]) { return; }
  saidAt = saidAt.filter(function (at) { return now() - at < 60000; });
  if (saidAt.length >= (isReady() || shows === 'failed' ? 4 : 3)) { return; }
  if (!onItsWay()) { said = {}; } // A later wake is told anew.
  said[key] = true;
  if (!begun) { return; }
  saidAt.push(now());
  var stage = onItsWay() ? text.stages[stageNames.indexOf(state.stage)] + '. ' : lead + ' ';
  put(id('say'), heading + '. ' + stage + (inLine() ? nextTry() : eta()));
}

// --- Hearing how it stands

// `asked` is when this page asked for it: what came in between by another way may be newer than the answer.
function take(next, asked) {
  if (paused || !next || !next.scene) { return; }
  if (heardAt > asked && next.version < state.version) { return; }
  if (next.scene !== 'asleep' && next.scene !== 'failed') { refusal = null; }
  state = next;
  since = heardAt = now();
  if (!canBeAsked()) { asking = false; clearTimeout(askingEnds); }
  if (!isReady()) { leaveLine(); checks = 0; byHand = data.unsent; }
  else if (turnWait) { turnAt = now() + turnWait; turnWait = 0; }
  draw();
  wakeIfWanted();
  takeNumber();
  if (isReady()) { check(); }
}
// An answer without the marker is the app's own: it may be there already.
function marked(response) { return response.headers.get('X-Anteroom') !== null; }
function poll() {
  clearTimeout(pollTimer);
  if (paused) { return; }
  var asked = now();
  fetch(root + 'status', { cache: 'no-store', headers: { Accept: 'application/json', 'X-Anteroom-Page': '1' } })
    .then(function (response) {
      if (!marked(response)) { if (response.status < 500) { check(); } throw 0; }
      return response.json();
    })
    .then(function (next) { failures = 0; take(next, asked); if (!source && ++streamed % 8 === 1) { listen(); } }, function () { failures++; })
    .then(plan);
}
function plan() {
  clearTimeout(pollTimer);
  // Under a living stream a poll is only a net; without one it is the way to hear, ever more seldom in trouble.
  if (!paused) { pollTimer = later(source || waitsForTurn ? 15000 + jitter(5000) : jitter(1000) * Math.min(10, Math.pow(1.6, failures)), poll); }
}
// A browser has six connections to a host over HTTP/1.1, and a stream keeps one. So one page of this browser has
// the stream, under a lock, and tells the others what it hears. Where there are no locks (they need https), only a
// page that is seen has one; the others ask now and then.
var others = window.BroadcastChannel ? new BroadcastChannel('anteroom') : null;
if (others) {
  others.onmessage = function (event) { if (waitsForTurn && event.data) { failures = 0; plan(); take(event.data); } };
}
function listen() {
  if (paused || source || waitsForTurn || !window.EventSource) { return; }
  if (!others || !navigator.locks) { return hidden() ? undefined : stream(); }
  waitsForTurn = true;
  navigator.locks.request('anteroom', function () {
    waitsForTurn = false;
    if (paused) { return; }
    return new Promise(function (done) { letGo = done; stream(); });
  });
}
function stream() {
  source = new EventSource(root + 'events');
  var opened = now();
  source.addEventListener('state', function (event) {
    var next = JSON.parse(event.data);
    failures = 0;
    plan();
    if (others) { others.postMessage(next); }
    take(next);
  });
  source.onerror = function () {
    if (!source) { return; }
    hangUp();
    // The room ends a stream after a minute, so that visitors spread over its replicas: that is no trouble.
    if (now() - opened > 10000) { streamed = 0; }
    plan();
  };
}
function hangUp() {
  if (source) { source.close(); source = null; }
  if (letGo) { letGo(); letGo = null; }
}
function hidden() { return doc.visibilityState === 'hidden'; }

// --- Asking for the wake

function wakeIfWanted() {
  if (!wantsWake || asking || paused || !canBeAsked()) { return; }
  if (state.scene === 'failed' && state.next_try_ms > 0) { return; }
  if (doc.prerendering || hidden()) { return; }
  wantsWake = false;
  ask('page');
}
function ask(by) {
  asking = true;
  asks++;
  draw();
  var asked = now();
  fetch(root + 'wake', {
    method: 'POST', cache: 'no-store',
    headers: { Accept: 'application/json', 'Content-Type': 'application/x-www-form-urlencoded', 'X-Anteroom-Page': '1' },
    body: 'nonce=' + encodeURIComponent(nonce) + '&by=' + by + proof
  }).then(function (response) {
    if (!marked(response)) { if (response.status < 500) { check(); } throw 0; }
    return response.json().then(function (answer) { answered(response, answer, by, asked); });
  }).then(null, function () { again(by); });
}
function answered(response, answer, by, asked) {
  if (response.status === 409 && answer.challenge) {
    if (answer.challenge.kind !== 'pow') { return leave(answer, by); }
    if (window.prove && asks < 5) { return prove(answer, by); }
  }
  if (response.status === 409) {
    if (answer.nonce && answer.nonce !== nonce) { nonce = answer.nonce; return again(by); }
    if (!data.unsent && leap('reload', 60000) < 2) { return reload(); }
    throw 0;
  }
  if (response.status === 429 || response.status === 403) {
    refusal = { kind: response.status === 429 ? 'limited' : 'denied', until: now() + 1000 * (answer.retry_after || 60) };
  } else if (!response.ok) { throw 0; }
  asks = 0;
  asking = response.ok;
  // The wake is taken; that it is under way is told a moment later.
  if (asking) { take(answer, asked); if (answer.owed && window.prove) { pay(answer.owed); } }
  if (asking) { askingEnds = later(5000, function () { asking = false; draw(); }); }
  draw();
}
// What a person must solve is on a page of its own. The form leads there, as without a script, for who pressed it.
function leave(answer, by) {
  asking = false;
  asks = 0;
  draw();
  form.elements.nonce.value = nonce = answer.nonce;
  if (by === 'click') { form.submit(); }
}
// Works for the wake, unless it comes without.
function prove(answer, by) {
  var challenge = answer.challenge;
  nonce = answer.nonce;
  proving = true;
  draw();
  window.prove(challenge, function () { return canBeAsked() && !paused; }, function (number) {
    proving = false;
    if (number === null) { asking = false; asks = 0; return draw(); }
    proof = '&challenge=' + encodeURIComponent(challenge.text) + '&answer=' + number;
    ask(by);
  });
}
// The machine boots already: the work for it is done meanwhile.
function pay(owed) {
  var body = 'nonce=' + encodeURIComponent(nonce) + '&challenge=' + encodeURIComponent(owed.text) + '&answer=';
  window.prove(owed, function () { return true; }, function (number) {
    fetch(root + 'proof', {
      method: 'POST', cache: 'no-store', keepalive: true,
      headers: { Accept: 'application/json', 'Content-Type': 'application/x-www-form-urlencoded', 'X-Anteroom-Page': '1' },
      body: body + number
    }).then(null, function () {});
  });
}
// Trouble on the way: a few more tries, then the button is there again.
function again(by) {
  if (asks < 5 && !paused) { later(jitter(500) * Math.pow(2, asks), function () { if (canBeAsked()) { ask(by); } else { asking = false; } }); }
  else { asking = false; asks = 0; draw(); }
}

// --- Going in

// The room lets a crowd in one after the other. The page takes its number as soon as the wake is under way, and keeps
// it in this tab.
function takeNumber() {
  if (canBeAsked()) { numbered = false; turnWait = 0; }
  if (numbered || paused || data.unsent || !onItsWay()) { return; }
  numbered = true;
  askTurn(function () {});
}
function askTurn(then) {
  var headers = { Accept: 'application/json', 'X-Anteroom-Page': '1' }, ticket = keep('ticket');
  if (ticket) { headers['X-Anteroom-Ticket'] = ticket; }
  fetch(root + 'turn', { method: 'POST', cache: 'no-store', headers: headers })
    .then(function (response) {
      if (!marked(response) && response.status < 500) { return { turn: 'go' }; } // No room is in the way.
      if (!marked(response) || !response.ok) { throw 0; }
      return response.json();
    })
    // Three times nothing: in, as if there were no line.
    .then(function (answer) { turnFailures = 0; return answer; }, function () { return ++turnFailures < 3 ? { turn: 'wait', wait_ms: 2000 } : { turn: 'go' }; })
    .then(function (answer) {
      if (answer.ticket) { keep('ticket', answer.ticket); }
      var wait = answer.turn === 'wait' && answer.wait_ms || 0;
      if (isReady()) { turnAt = wait ? now() + wait : null; } else { turnWait = wait; }
      then(answer);
    });
}
// What waits a moment only is not in a line to anybody.
function inLine() { return isReady() && turnAt !== null && turnAt - now() > 1500; }
function leaveLine() { clearTimeout(turnTimer); turns++; turnAt = null; opening = false; }
// Asks at half of the time that it must wait: those before it may have left.
function inTurn(then) {
  var turn = ++turns, ahead = turnAt === null ? 0 : Math.max(0, turnAt - now()) / 2;
  opening = true;
  draw();
  clearTimeout(turnTimer);
  turnTimer = later(ahead, function ask() {
    // A question that nobody answers keeps nobody out.
    turnTimer = later(40000, function () { turns++; then({}); });
    askTurn(function (answer) {
      if (turn !== turns || paused) { return; }
      clearTimeout(turnTimer);
      if (answer.turn === 'go') { return then(answer); }
      draw();
      turnTimer = later(Math.max(1000, (answer.wait_ms || 0) / 2) * (1 + 0.2 * Math.random()), ask);
    });
  });
}
function check() {
  if (paused || opening || data.unsent || byHand || !auto.checked) { return; }
  inTurn(look);
}
// The app is asked, without cookies and at the front, whether it really answers along the visitors' way: asking
// for this very address would spend a link that works only once. Where that way leads through the room, the room has
// just said it.
function look(turn) {
  if (turn.open) { return open(turn); }
  fetch('/', { cache: 'no-store', credentials: 'omit', redirect: 'manual', headers: { Accept: 'text/html' } })
    .then(function (response) {
      var failing = response.status >= 502 && response.status <= 504;
      if (marked(response) || (failing && checks < 4)) { throw 0; }
      open(turn);
    })
    .then(null, function () {
      clearTimeout(checkTimer);
      checkTimer = later(Math.min(8000, jitter(400) * Math.pow(1.7, checks++)), function () {
        opening = false;
        if (isReady()) { check(); }
      });
    });
}
// Once for each time that the service got ready. Whoever was thrown back here goes in by hand from then on, and is
// not sent in circles: not even while it gets ready again and again. One of several rooms that each let a crowd in may
// not know yet whom another has let in; that is tried again.
function open(turn) {
  if (leap('open', 0) > 4 || !first('ready ' + state.since, turn.paced ? 3 : 1)) { byHand = true; leaveLine(); return draw(); }
  leap('open', 120000);
  reload();
}
function reload() {
  // Replacing an address that has a fragment by itself would load nothing.
  if (location.hash) { location.reload(); } else { location.replace(location.href); }
}
// Counts the times this tab has gone this way lately: adds one when a time is given, and says how many before. Where
// there is no storage that is too many: the visitor presses the button.
function leap(way, lasts) {
  try {
    var key = 'anteroom:' + way, kept = JSON.parse(sessionStorage.getItem(key) || 'null');
    var count = kept && kept.until > Date.now() ? kept.count : 0;
    if (lasts) { sessionStorage.setItem(key, JSON.stringify({ count: count + 1, until: Date.now() + lasts })); }
    return count;
  } catch (_) { return 9; }
}
// Whether this tab has not yet gone in so often since then; it has once more from now on.
function first(since, times) {
  try {
    var kept = JSON.parse(keep('entered') || '{}'), count = kept.since === since ? kept.count : 0;
    keep('entered', JSON.stringify({ since: since, count: count + 1 }));
    return count < times && keep('entered') !== null;
  } catch (_) { return false; }
}
// What this tab keeps under a name; with a value, from now on that. None where there is no storage.
function keep(name, value) {
  try {
    if (value) { sessionStorage.setItem('anteroom:' + name, value); }
    return sessionStorage.getItem('anteroom:' + name);
  } catch (_) { return null; }
}

// --- What the visitor does

form.addEventListener('submit', function (event) {
  event.preventDefault();
  if (isReady()) { return data.unsent ? history.back() : opening ? undefined : inTurn(reload); }
  if (!asking) { refusal = null; asks = 0; wantsWake = false; ask('click'); }
});
auto.addEventListener('change', function () {
  if (!auto.checked) { leaveLine(); }
  draw();
  if (isReady()) { check(); }
});
id('pause').addEventListener('click', function () {
  paused = !paused;
  doc.body.className = paused ? 'paused' : '';
  put(id('say'), paused ? text.controls.paused : '');
  if (paused) {
    hangUp();
    clearTimeout(pollTimer); clearTimeout(checkTimer);
    leaveLine();
    put(id('pause'), text.controls.resume);
  } else { draw(); poll(); listen(); }
});
function begin() {
  draw();
  begun = true;
  // A request that wakes by itself has done so; if it has not, the page asks a little later.
  if (data.wake_by === 'request') { later(3000, function () { wantsWake = state.scene === 'asleep'; wakeIfWanted(); }); }
  wakeIfWanted();
  takeNumber();
  if (isReady()) { check(); }
  listen();
  plan();
  setInterval(function () { if (!paused) { draw(); } }, 500);
}
doc.addEventListener('visibilitychange', function () {
  wakeIfWanted();
  if (!navigator.locks) { if (hidden()) { hangUp(); } else { listen(); } plan(); }
});
if (doc.prerendering) { draw(); doc.addEventListener('prerenderingchange', begin); } else { begin(); }
})();
