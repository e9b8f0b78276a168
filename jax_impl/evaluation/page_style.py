"""How the page of a report looks: for wide and narrow windows, light and dark."""

STYLE = """
:root { color-scheme: light dark; --back: #fcfcfa; --text: #1c1e21; --soft: #5b6168; --line: #dcdcd6;
  --real: #b9c4cf; --model: #1d5fb8; --bad: #b3261e; --good: #1b7a3a; --card: #f3f3ee; }
@media (prefers-color-scheme: dark) { :root { --back: #15171a; --text: #e7e8ea; --soft: #a2a9b1; --line: #33373c;
  --real: #55626f; --model: #7ab3ff; --bad: #ff8d83; --good: #79d598; --card: #1e2125; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.45 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.2rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0.2rem 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.4rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem; }
p { margin: 0.3rem 0; }
.soft, dd { color: var(--soft); font-size: 0.9rem; }
.short { list-style: none; margin: 1rem 0; padding: 0.5rem 1rem; background: var(--card); border-radius: 0.5rem; }
.short li { padding: 0.35rem 0 0.35rem 1.6rem; position: relative; }
.short b { position: absolute; left: 0; }
.bad { color: var(--bad); }
.good { color: var(--good); }
.row { display: grid; grid-template-columns: 15rem 1fr 21rem; gap: 0 1rem; align-items: center;
  padding: 0.3rem 0; border-top: 1px solid var(--line); }
.numbers { font-variant-numeric: tabular-nums; font-size: 0.9rem; }
.numbers span { color: var(--soft); }
.bar { position: relative; height: 1.1rem; }
.bar::before { content: ""; position: absolute; left: 0; right: 0; top: 50%; border-top: 1px solid var(--line); }
.bar i { position: absolute; top: 0; bottom: 0; border-radius: 2px; min-width: 3px; }
.bar .real { background: var(--real); }
.bar .model { background: var(--model); top: 30%; bottom: 30%; }
.wrong .bar .model { background: var(--bad); }
.bar .guess { width: 3px; background: var(--text); }
.bar .other { width: 3px; background: var(--soft); }
.key i { display: inline-block; width: 1.4rem; height: 0.7rem; border-radius: 2px; margin: 0 0.35rem 0 0.8rem; }
.key .thin { width: 3px; }
.key .real { background: var(--real); }
.key .model { background: var(--model); }
.key .wrong { background: var(--bad); }
.key .guess { background: var(--text); }
.key .other { background: var(--soft); }
.key i:first-child { margin-left: 0; }
svg { width: 100%; max-width: 46rem; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 13px; }
svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
svg .of-real { stroke: var(--soft); }
svg .of-model { stroke: var(--model); stroke-dasharray: 7 4; }
svg .name-model { fill: var(--model); }
dt { font-weight: 600; margin-top: 0.5rem; }
dd { margin: 0; }
details { margin-top: 0.6rem; }
summary { cursor: pointer; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
td, th { padding: 0.25rem 0.8rem 0.25rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
td:last-child { overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; }
.right { text-align: right; white-space: nowrap; overflow-wrap: normal; }
@media (max-width: 46rem) { .row { grid-template-columns: 1fr; gap: 0.1rem; padding: 0.5rem 0; }
  .row .name { font-weight: 600; } svg text { font-size: 20px; } }
"""
