"""The report's style sheet: one column, one accent colour, light and dark, screen and paper."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ground: #f4f6f8; --ink: #1c2126; --quiet: #5c6670; --rule: #dde2e7;
  --accent: #0065a0; --on-accent: #ffffff; --wrong: #b34700; --on-wrong: #ffffff; --warn: #fff6e0; --warn-edge: #b07a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --ground: #1d2329; --ink: #e4e8ec; --quiet: #9aa5b0; --rule: #323a42;
    --accent: #62b4ea; --on-accent: #08131b; --wrong: #ff9a57; --on-wrong: #1c0d03; --warn: #2c2413;
    --warn-edge: #d9a326;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
.page { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
p, h1, h2, h3, figure, dl, dd, ul, ol { margin: 0; }
a { color: var(--accent); }
.eyebrow { color: var(--quiet); font-size: .8125rem; letter-spacing: .04em; }
h1 { font-size: clamp(1.75rem, 4vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; margin: .25rem 0 .75rem;
     overflow-wrap: anywhere; }
.lead { font-size: 1.1875rem; line-height: 1.5; max-width: 44rem; text-wrap: pretty; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1.75rem 0 0; padding: .75rem 0;
      border-block: 1px solid var(--rule); font-size: .875rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { padding-top: 3rem; }
h2 { font-size: 1.375rem; letter-spacing: -.01em; margin-bottom: .25rem; }
h3 { font-size: 1rem; margin: 2rem 0 .6rem; }
.remark { color: var(--quiet); max-width: 44rem; text-wrap: pretty; }
h2 + .grid, h2 + .facts, .remark + .grid, .remark + .facts { margin-top: 1.25rem; }

.headline { display: grid; grid-template-columns: auto minmax(16rem, 26rem); gap: 1rem 3.5rem; align-items: center;
            justify-content: start; margin: 1.25rem 0 .5rem; }
.number { font-size: clamp(3.5rem, 9vw, 5rem); font-weight: 650; line-height: 1; letter-spacing: -.04em;
          color: var(--accent); }
.number + p { margin-top: .5rem; font-weight: 600; }
.headline svg + p { margin-top: .35rem; }
.headline svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { font-size: 12px; fill: var(--quiet); font-family: inherit; }
.fine { color: var(--quiet); font-size: .875rem; }
.tag { display: inline-block; padding: 0 .55em; border: 1px solid currentColor; border-radius: 1em; font-size: .8125rem;
       font-weight: 500; color: var(--quiet); white-space: nowrap; }

.warning { background: var(--warn); border-left: 4px solid var(--warn-edge); padding: .75rem 1rem; margin-top: 1.5rem;
           border-radius: 0 4px 4px 0; }
.warning ul { padding-left: 1.1rem; }
.warning strong { display: block; }

.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.25rem 2rem; }
.facts dt { color: var(--quiet); font-size: .875rem; }
.facts dd { font-size: 1.125rem; font-weight: 600; overflow-wrap: anywhere; }
.facts dd + dd { font-size: .875rem; font-weight: 400; color: var(--quiet); }

.scroll { overflow-x: auto; margin-top: .5rem; }
table { border-collapse: collapse; font-size: .9375rem; }
th, td { text-align: left; padding: .45rem 1.5rem .45rem 0; border-bottom: 1px solid var(--rule);
         vertical-align: baseline; }
thead th { color: var(--quiet); font-weight: 500; font-size: .875rem; border-bottom-color: var(--quiet); }
tbody th { font-weight: 500; min-width: 7rem; position: sticky; left: 0; background: var(--paper); }
tbody th, td { overflow-wrap: anywhere; }
.num { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
.num:not(:last-child) { padding-right: 2rem; }
.ci { display: inline-block; min-width: 7.6em; color: var(--quiet); font-size: .8125rem; margin-left: .5em; }
.bar { display: inline-block; width: 4rem; height: .5rem; margin-left: .75em; border-radius: 2px; vertical-align: .08em;
       background: linear-gradient(var(--accent) 0 0) 0 / calc(var(--v) * 100%) 100% no-repeat var(--ground); }

.beside { display: flex; flex-wrap: wrap; gap: 0 4rem; }
.beside > div { max-width: 100%; }
.confusion { font-size: .875rem; }
.confusion th, .confusion td { border: 0; padding: 0; }
.confusion td { min-width: 2.5rem; height: 2.25rem; text-align: center; vertical-align: middle; padding: 0 .3rem;
                border: 1px solid var(--paper); background: var(--ground); color: var(--quiet); }
.confusion td.hit { --hue: var(--accent); --on: var(--on-accent); }
.confusion td.miss { --hue: var(--wrong); --on: var(--on-wrong); }
.confusion td.hit, .confusion td.miss { color: var(--ink);
  background: color-mix(in srgb, var(--hue) calc(10% + 84% * var(--s)), var(--paper)); }
.confusion td.hit.deep, .confusion td.miss.deep { color: var(--on);
  background: color-mix(in srgb, var(--hue) calc(80% + 20% * var(--s)), var(--paper)); }
.confusion tbody th { min-width: 0; padding-right: .75rem; text-align: right; max-width: 14rem; font-weight: 400;
                      vertical-align: middle; }
.confusion thead th { color: var(--ink); font-weight: 400; text-align: center; padding-bottom: .4rem;
                      vertical-align: bottom; }
.confusion .tall span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 10rem; overflow: hidden;
                        text-overflow: ellipsis; white-space: nowrap; }
.confusion td.axis { color: var(--quiet); font-size: .8125rem; text-align: right; vertical-align: bottom; border: 0;
                    background: none; padding: 0 .75rem .4rem 0; white-space: nowrap; }

.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.75rem; margin-top: 1.5rem; }
.grid figure.broad { grid-column: 1 / -1; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--rule);
             border-radius: 4px; }
figcaption { margin-top: .5rem; font-size: .875rem; color: var(--quiet); max-width: 44rem; }
figcaption strong { color: var(--ink); font-weight: 600; }

pre { margin: .4rem 0 0; padding: .9rem 1.1rem; background: var(--ground); border-radius: 4px; overflow-x: auto;
      font-size: .875rem; line-height: 1.5; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
details { margin-top: 1rem; }
summary { cursor: pointer; font-weight: 500; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--rule); }

@media (max-width: 44rem) {
  .page { padding-top: 2rem; }
  .grid, .headline { grid-template-columns: minmax(0, 1fr); }
}
@media print {
  :root { --paper: #fff; --ground: #f4f6f8; --ink: #000; --quiet: #444; --rule: #ccc; --accent: #0065a0;
          --on-accent: #fff; --wrong: #b34700; --on-wrong: #fff; --warn: #fff6e0; color-scheme: light; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10.5pt; }
  .page { max-width: none; padding: 0; }
  nav { display: none; }
  section { padding-top: 1.6rem; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  h2, h3 { break-after: avoid; }
  figure, tr, pre, .headline, .warning { break-inside: avoid; }
  .scroll { overflow: visible; }
  @page { margin: 18mm; }
}
"""
"""Plain CSS, inlined into the page; no font, picture or script is fetched."""
