"""The style sheet of a report: light, dark and print. Colours differ in lightness and never speak alone.

Hues follow Okabe and Ito (2008), "Color Universal Design", darkened or lightened until text on them reads well
(contrast of at least 4.5 to 1).
"""

CSS = """
:root { color-scheme: light dark;
  --page:#fafaf8; --card:#ffffff; --ink:#1b1d21; --soft:#5b616b; --line:#dfe1e5; --faint:#f1f2f4; --zone:#ececf0;
  --control:#6e747e; --treatment:#4338ca; --diff:#fff4d6; --diff-line:#d9a300;
  --supported:#00734f; --refuted:#b3400a; --equivalent:#0a5c96; --inconclusive:#775800; --invalid:#8a3571;
  --none:#5b616b;
  --on:#ffffff; }
@media screen and (prefers-color-scheme: dark) { :root {
  --page:#131519; --card:#1b1e24; --ink:#e8eaee; --soft:#a2a9b5; --line:#343943; --faint:#23272e; --zone:#2a2e37;
  --control:#a2a9b5; --treatment:#a5a1ff; --diff:#3a3113; --diff-line:#d9a300;
  --supported:#4fd1a5; --refuted:#ff9d66; --equivalent:#7cc4f5; --inconclusive:#e8c352; --invalid:#ec9fd3;
  --none:#a2a9b5;
  --on:#131519; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
main, header, footer { max-width:1000px; margin:0 auto; padding:0 24px; }
header { padding-top:44px; }
h1, h2, h3, .claim { font-family:ui-serif,Georgia,Cambria,"Times New Roman",serif; line-height:1.2; }
h1 { font-size:2.6rem; margin:.1em 0 .35em; letter-spacing:-.015em; }
h2 { font-size:1.6rem; margin:0 0 .5em; letter-spacing:-.01em; }
h3 { font-size:1.25rem; margin:0; }
h4 { font-size:.95rem; margin:1.6em 0 .5em; }
p { margin:.5em 0; }
a { color:inherit; }
code, .mono { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace; font-size:.86em; }
code { overflow-wrap:anywhere; }
.kicker { color:var(--soft); font-size:.9rem; margin:0; }
.claim { font-size:1.35rem; margin:0 0 24px; padding-left:18px; border-left:3px solid var(--line);
  overflow-wrap:anywhere; }
.soft, .hint { color:var(--soft); }
.hint { font-size:.84rem; }
.undefined { color:var(--soft); font-style:italic; }
nav { display:flex; flex-wrap:wrap; gap:4px 20px; margin:20px 0 0; font-size:.9rem; }
nav a { color:var(--soft); text-decoration:none; border-bottom:1px solid var(--line); }
nav a:hover { color:var(--ink); border-color:var(--ink); }
section { margin:52px 0 0; scroll-margin-top:16px; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:22px 26px;
  margin:16px 0 0; }
.answer { border-left:6px solid var(--tone); margin-top:24px; }
header details { border:0; margin:14px 0 0; padding:0; }
figcaption .key { font-weight:400; margin:6px 0 0; }
.answer .sentence { font-size:1.3rem; line-height:1.35; margin:.5em 0 .3em; font-weight:600; }
.badge { display:inline-block; background:var(--tone); color:var(--on); font-weight:650; font-size:.84rem;
  padding:.16em .75em .2em; border-radius:99px; white-space:nowrap; line-height:1.5; }
.is-supported{--tone:var(--supported)}
.is-refuted{--tone:var(--refuted)}
.is-equivalent{--tone:var(--equivalent)}
.is-inconclusive{--tone:var(--inconclusive)}
.is-invalid{--tone:var(--invalid)}
.is-none{--tone:var(--none)}
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:18px 28px; margin:22px 0 0;
  padding:18px 0 0; border-top:1px solid var(--line); }
.tiles dt { color:var(--soft); font-size:.84rem; }
.tiles dd { margin:0; }
.tiles .big { font-size:1.2rem; font-weight:600; line-height:1.3; font-variant-numeric:tabular-nums; display:block; }
.title { display:flex; flex-wrap:wrap; gap:8px 14px; align-items:center; margin:0 0 .4em; }
ul.plain { margin:.4em 0; padding-left:1.2em; }
ul.plain li { margin:.25em 0; overflow-wrap:anywhere; }
ul.tree { list-style:none; margin:.4em 0 .4em 4px; padding-left:18px; border-left:2px solid var(--line); }
ul.tree li { margin:.9em 0; overflow-wrap:anywhere; position:relative; }
ul.tree li::before { content:""; position:absolute; left:-18px; top:.85em; width:11px;
  border-top:2px solid var(--line); }
ul.tree .hint { display:block; }
/* plots */
svg { display:block; overflow:visible; }
text { fill:var(--ink); font-size:12.5px; font-variant-numeric:tabular-nums; }
.tick { fill:var(--soft); font-size:12px; }
.label { fill:var(--soft); font-size:12.5px; }
.value { font-size:12px; }
.middle { text-anchor:middle; }
.end { text-anchor:end; }
.grid { stroke:var(--line); stroke-width:1; }
.base { stroke:var(--soft); stroke-width:1; }
.zero { stroke:var(--ink); stroke-width:1.25; }
.margin { stroke:var(--ink); stroke-width:1.5; stroke-dasharray:2 4; stroke-linecap:round; }
.small { fill:var(--zone); }
.break { stroke:var(--soft); stroke-width:1; stroke-dasharray:3 3; }
.note { fill:var(--soft); font-style:italic; paint-order:stroke; stroke:var(--card); stroke-width:5px; }
.interval { stroke:var(--tone); stroke-width:3; }
.cap { stroke:var(--tone); stroke-width:2; }
.point { fill:var(--tone); stroke:var(--card); stroke-width:2; }
.effects .ends { display:flex; justify-content:space-between; color:var(--soft); font-size:.84rem;
  margin:2px 0 10px; }
.effects .row { display:flex; flex-wrap:wrap; gap:2px 12px; align-items:center; margin:16px 0 5px; }
.effects .row .told { margin-left:auto; font-variant-numeric:tabular-nums; font-size:.95rem; text-align:right; }
.effects .row .told > span { display:block; }
p.scale:not(:first-child) { margin-top:1.6em; }
td code { font-size:.95em; }
.effects .row .badge { margin-left:8px; }
.effects .axis { margin-top:2px; }
.effects .axis-label { text-align:center; color:var(--soft); font-size:.84rem; margin:0; }
.key { display:flex; flex-wrap:wrap; gap:4px 18px; color:var(--soft); font-size:.84rem; margin:14px 0 0; padding:0;
  list-style:none; }
.key svg { display:inline-block; vertical-align:-2px; margin-right:6px; }
.plots { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr)); gap:28px 40px;
  margin:20px 0 4px; align-items:start; }
.plots figure { margin:0; min-width:0; max-width:460px; }
.numbers th, .numbers td { padding-right:22px; }
.numbers tbody th { white-space:nowrap; }
.numbers td.r { white-space:nowrap; overflow-wrap:normal; }
.numbers td.r .undefined { white-space:normal; display:inline-block; max-width:240px; }
.numbers td:last-child { min-width:260px; }
@media (min-width:800px) { .beside { grid-column:2; grid-row:1 / span 2; } }
.plot { width:100%; height:auto; }
figcaption { font-weight:600; font-size:.95rem; margin:0 0 8px; }
figcaption .hint { font-weight:400; display:block; }
.link { stroke:var(--treatment); stroke-width:2; }
.loss .link { stroke:var(--refuted); stroke-dasharray:4 3; }
.tie .link { stroke:none; }
.loss .value { fill:var(--refuted); }
.dot.control { fill:var(--card); stroke:var(--control); stroke-width:2; }
.dot.treatment { fill:var(--treatment); stroke:var(--card); stroke-width:1; }
.cross { fill:none; stroke-width:2.5; stroke-linecap:round; }
.cross.control { stroke:var(--control); }
.cross.treatment { stroke:var(--treatment); }
.band { stroke:none; opacity:.16; }
.band.control { fill:var(--control); }
.band.treatment { fill:var(--treatment); }
.mean { fill:none; stroke-width:2.25; stroke-linejoin:round; }
.mean.control { stroke:var(--control); stroke-dasharray:6 4; }
.mean.treatment { stroke:var(--treatment); }
/* tables */
.scroll { overflow-x:auto; margin:10px 0; }
table { border-collapse:collapse; width:100%; font-size:.92rem; font-variant-numeric:tabular-nums; }
th, td { text-align:left; padding:7px 14px 7px 0; border-bottom:1px solid var(--line); vertical-align:top; }
th:last-child, td:last-child { padding-right:0; }
thead th { color:var(--soft); font-weight:500; font-size:.84rem; vertical-align:bottom; }
tbody th { font-weight:500; }
.r { text-align:right; }
.tight td, .tight th { padding-top:4px; padding-bottom:4px; font-size:.86rem; }
td .hint, th .hint { display:block; font-weight:400; }
.nowrap { white-space:nowrap; }
td { overflow-wrap:anywhere; }
.wide td, .wide th { white-space:nowrap; overflow-wrap:normal; }
.wide thead th { white-space:normal; }
.wide td.free { white-space:normal; min-width:170px; }
.wide .undefined { display:inline-block; white-space:normal; max-width:110px; }
.wide td, .wide th { padding-right:11px; }
tr.differs td, tr.differs th { background:var(--diff); }
tr.differs th { box-shadow:inset 3px 0 0 var(--diff-line); }
.pad th:first-child { padding-left:10px; }
tr.group th { color:var(--soft); font-size:.84rem; padding-top:16px; font-weight:600; }
dl.facts { display:grid; grid-template-columns:minmax(130px,220px) 1fr; gap:7px 20px; margin:12px 0;
  font-size:.95rem; }
dl.facts dt { color:var(--soft); }
dl.facts dd { margin:0; overflow-wrap:anywhere; min-width:0; }
details { border-top:1px solid var(--line); margin-top:16px; padding-top:12px; }
details > summary { cursor:pointer; font-weight:600; font-size:.95rem; }
details > summary .soft { font-weight:400; }
pre { background:var(--faint); border:1px solid var(--line); border-radius:8px; padding:12px 16px; overflow-x:auto;
  margin:10px 0; font-size:.9rem; }
footer { margin-top:56px; padding-bottom:56px; color:var(--soft); font-size:.9rem; }
footer > div { border-top:1px solid var(--line); padding-top:20px; }
footer h2 { font-size:1.1rem; color:var(--ink); }
@media (max-width:560px) { main, header, footer { padding-left:14px; padding-right:14px; }
  header { padding-top:26px; }
  h1 { font-size:2.05rem; }
  .claim { font-size:1.15rem; }
  .card { padding:16px; }
  .effects .row .told { margin-left:0; width:100%; text-align:left; }
  .tiles { grid-template-columns:1fr 1fr; gap:16px; }
  .effects .row .told { font-size:.84rem; }
  .numbers th, .numbers td { padding-right:12px; }
  .numbers tbody th, .numbers td.r { white-space:normal; }
  .numbers td:last-child, .numbers th:last-child { display:none; }
  dl.facts { grid-template-columns:1fr; gap:0; }
  dl.facts dd { margin-bottom:10px; } }
@media print { :root { --page:#fff; font-size:11px; } body { font-size:1rem; }
  nav, header details { display:none; }
  header { padding-top:0; }
  .plots { grid-template-columns:1fr 1fr; }
  .tiles { grid-template-columns:repeat(4,1fr); }
  .card, figure, tr, .effects { break-inside:avoid; } h2, h3, h4 { break-after:avoid; } section { margin-top:28px; }
  .scroll { overflow:visible; }
  .wide td, .wide th { white-space:normal; font-size:.78rem; padding-right:5px; }
  .wide .hint { font-size:.78rem; }
  * { print-color-adjust:exact; -webkit-print-color-adjust:exact; }
  details::details-content { content-visibility:visible; block-size:auto; height:auto; } }
"""
"""Everything a report needs to look as it should; it refers to nothing outside the file."""
