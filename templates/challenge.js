(function () {
'use strict';
// Work for the waiting page, where its service asks for some: the smallest number for which SHA-256 over the SHA-256
// of the text and the number's eight bytes begins with so many zero bits. In slices, so that the page stays smooth.
var K = new Int32Array(64), START = new Int32Array(8), w = new Int32Array(64), h = new Int32Array(8);
for (var n = 0, prime = 2; n < 64; prime++) {
  var factor = 2;
  while (prime % factor) { factor++; }
  if (factor === prime) {
    if (n < 8) { START[n] = Math.sqrt(prime) * 4294967296; }
    K[n++] = Math.pow(prime, 1 / 3) * 4294967296;
  }
}
function turn(x, by) { return x >>> by | x << 32 - by; }
// Takes the sixteen words that stand in w into h.
function block() {
  var i, x, y, a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
  for (i = 16; i < 64; i++) {
    x = w[i - 15]; y = w[i - 2];
    w[i] = w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ x >>> 3) + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ y >>> 10);
  }
  for (i = 0; i < 64; i++) {
    x = k + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + K[i] + w[i] | 0;
    y = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
    k = g; g = f; f = e; e = d + x | 0; d = c; c = b; b = a; a = x + y | 0;
  }
  h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += k;
}
// The hash of a text of ASCII, as it is left in h.
function digest(text) {
  var bytes = text.length, blocks = (bytes + 72) >> 6, at = 0;
  h.set(START);
  for (var one = 0; one < blocks; one++) {
    for (var i = 0; i < 16; i++) {
      w[i] = 0;
      for (var byte = 0; byte < 4; byte++, at++) {
        w[i] = w[i] << 8 | (at < bytes ? text.charCodeAt(at) : at === bytes ? 128 : 0);
      }
    }
    if (one === blocks - 1) { w[15] = bytes * 8; }
    block();
  }
  return h.slice();
}
function zeros(seed, number) {
  w.set(seed);
  w[8] = number / 4294967296; w[9] = number; w[10] = 1 << 31; w[11] = w[12] = w[13] = w[14] = 0; w[15] = 320;
  h.set(START);
  block();
  return Math.clz32(h[0]);
}
// Calls done with the number; or with nothing, as soon as it is not wanted any more.
window.prove = function (challenge, isWanted, done) {
  var seed = digest(challenge.text), number = 0;
  (function slice() {
    if (!isWanted()) { return done(null); }
    // Who does not look at the page does not see it stand still.
    var end = Date.now() + (document.hidden ? 250 : 12);
    do {
      for (var some = 0; some < 200; some++, number++) {
        if (zeros(seed, number) >= challenge.bits) { return done(String(number)); }
      }
    } while (Date.now() < end);
    setTimeout(slice, 0);
  })();
};
})();
