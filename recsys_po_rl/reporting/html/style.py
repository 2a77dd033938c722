"""Style sheet of pages: light and dark, wide and narrow; contrast at least 4.5 for text, at least 3 for lines."""

# Colours of lines also differ in lightness and dashes, so that they can be distinguished without colour vision.
_LIGHT = """
--back: #ffffff; --front: #1b1f24; --muted: #57606a; --rule: #d0d7de; --card: #f6f8fa; --link: #0550ae;
--warn-back: #fff4d6; --warn-front: #5c3b00; --bar: #0969da; --bar-informed: #b35900; --heat: #0550ae;
--s0: #1b1f24; --s1: #0969da; --s2: #b35900; --s3: #1a7f37; --s4: #8250df; --s5: #6e7781; --s6: #bf3989;
"""
_DARK = """
--back: #0f1419; --front: #e6e9ec; --muted: #9aa5b1; --rule: #37424e; --card: #171d24; --link: #79b8ff;
--warn-back: #3a2d0b; --warn-front: #ffd98a; --bar: #4493f8; --bar-informed: #e08a3c; --heat: #6cb6ff;
--s0: #e6e9ec; --s1: #58a6ff; --s2: #f0a35e; --s3: #4ac26b; --s4: #bc8cff; --s5: #8b949e; --s6: #f778ba;
"""

STYLE = (
    f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--back); color: var(--front);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .5rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
ul { margin: .5rem 0; padding-left: 1.3rem; max-width: 46rem; }
a { color: var(--link); }
code { font: .9em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
.muted, figcaption small { color: var(--muted); }
.verdict p { font-size: 1.1rem; max-width: 52rem; }
.warn { background: var(--warn-back); color: var(--warn-front); padding: .6rem .9rem; border-radius: .4rem; }
.warn a, .warn code { color: inherit; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 1rem 0 0; padding: 0;
  max-width: none; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.scroll { overflow-x: auto; position: relative; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; vertical-align: top; }
thead th { color: var(--muted); font-weight: 600; border-bottom: 1px solid var(--rule); vertical-align: bottom; }
tbody th { font-weight: 400; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
table.numbers td { white-space: nowrap; }
table.policies { width: 100%; }
table.policies td:nth-child(2) { width: 34%; vertical-align: middle; }
table.policies td:nth-child(n+3) { white-space: nowrap; }
table.policies strong code { font-weight: 700; }
table.differences th { min-width: 17rem; }
table.differences { width: 100%; }
table.compared th, table.compared td { min-width: 7.5rem; }
table.compared th code { overflow-wrap: normal; }
table.compared .interval { display: block; }
.interval { color: var(--muted); white-space: nowrap; }
.bars { display: grid; gap: .8rem; max-width: 52rem; margin: 1rem 0; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr 16rem; gap: 0 1rem;
  align-items: center; }
.track { position: relative; height: 1.05rem; background: var(--card); border-radius: .2rem; min-width: 6rem; }
.track i { position: absolute; top: 0; bottom: 0; left: 0; border-radius: .2rem; background: var(--bar); }
.track i.informed { background: repeating-linear-gradient(135deg, var(--bar-informed) 0 6px, var(--back) 6px 8px); }
.track b { position: absolute; top: 20%; bottom: 20%; border: solid var(--front); border-width: 0 2px;
  background: linear-gradient(var(--front), var(--front)) center / 100% 2px no-repeat; min-width: 4px; }
.track.key { display: inline-block; width: 1.6rem; height: .8rem; min-width: 0; }
.track.key i { width: 100%; }
.bars .share { display: block; }
.charts { display: grid; align-items: end; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr));
  gap: 1.2rem 1.6rem; }
figure { margin: .6rem 0 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
figcaption small { display: block; font-weight: 400; }
svg { display: block; width: 100%; height: auto; max-width: 26rem; overflow: visible; }
svg text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  fill: var(--muted); }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .band { stroke: none; opacity: .2; }
svg .mark { stroke: var(--s6); stroke-width: 1.5; }
svg .cell { fill: var(--heat); }
svg .frame { fill: var(--card); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; list-style: none; padding: 0; margin: .6rem 0 0;
  font-size: .92rem; max-width: none; }
.legend svg { display: inline-block; width: 2rem; height: .8rem; margin-right: .4rem; vertical-align: middle; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 2rem; }
summary { cursor: pointer; color: var(--link); margin: .8rem 0 .2rem; }
@media (max-width: 40rem) {
  .bars li { grid-template-columns: 1fr auto; }
  .bars li { gap: 0 .8rem; }
  .bars .track { grid-column: 1 / -1; grid-row: 2; }
  table { font-size: .84rem; }
  th, td { padding-right: .6rem; }
  table.differences th { min-width: 8rem; }
  table.policies th:nth-child(2), table.policies td:nth-child(2) { display: none; }
  table.policies .interval { display: block; }
}
@media print { nav { display: none; } body { max-width: none; } }
"""
    + "".join(
        f".s{number} {{ stroke: var(--s{number}); stroke-dasharray: {dashes}; }}\n"
        f".f{number} {{ fill: var(--s{number}); }}\n"
        for number, dashes in enumerate(["none", "none", "7 3", "2 3", "9 3 2 3", "4 4", "1 4"])
    )
)
NUM_STYLES = 7  # number of line styles
