(function () {
'use strict';
// The widget of a captcha service, on the challenge's own page. Nothing of it is seen before its script is there, and the
// wait is beside it: where it does not load, nobody misses it.
var part = document.getElementById('check'), form = part.querySelector('form'), box = part.querySelector('div');
var data = box.dataset;
window.anteroomCheck = function () {
  part.hidden = false;
  window[data.api].render(box, {
    sitekey: data.sitekey, action: data.action, cData: data.mark,
    theme: matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light',
    size: box.clientWidth < 304 ? 'compact' : 'normal',
    callback: function (token) { form.elements.answer.value = token; form.submit(); },
    'error-callback': function () { part.hidden = true; return true; }
  });
};
var script = document.createElement('script');
script.async = true;
script.src = data.script + '?render=explicit&onload=anteroomCheck';
document.head.appendChild(script);
})();
