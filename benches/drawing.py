"""The comparison as a drawing: processor time per GB, and latency by percentile on a logarithmic scale. Plain SVG, nothing to install."""
import math

COLOURS = {"floor": "#9aa0a6", "ottla": "#0b7a75", "apache": "#d1603d"}
WIDTH, BAR, GAP, LEFT, RIGHT = 860, 13, 12, 250, 70
TEXT = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'


def write(path, medians, kinds):
    panels = [
        ("Processor time of the broker, seconds per GB", {what.split(", CPU")[0]: values for what, values in medians.items() if what.endswith("CPU s/GB")}, False),
        ("End to end latency, ms (logarithmic)", {what[len("end to end at "):-3]: values for what, values in medians.items() if what.startswith("end to end")}, True),
    ]
    parts, y = [], 30
    x = LEFT
    for kind in kinds:
        parts.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{COLOURS[kind]}"/><text x="{x + 17}" y="24" {TEXT}>{kind}</text>')
        x += 90
    for title, rows, logarithmic in panels:
        if rows:
            y = panel(parts, y + 30, title, rows, kinds, logarithmic)
    with open(path, "w") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 20}" viewBox="0 0 {WIDTH} {y + 20}">\n'
                  f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def panel(parts, y, title, rows, kinds, logarithmic):
    """Draws groups of horizontal bars from `y` on; returns where they end."""
    all_values = [value for values in rows.values() for value in values.values() if value > 0]
    low, high = (min(all_values) / 2, max(all_values)) if logarithmic else (0, max(all_values))
    def length(value):
        share = math.log(value / low) / math.log(high / low) if logarithmic else value / high
        return max(1, share * (WIDTH - LEFT - RIGHT))
    parts.append(f'<text x="12" y="{y}" {TEXT} font-weight="bold">{title}</text>')
    y += 14
    for what, values in rows.items():
        drawn = [kind for kind in kinds if values.get(kind, 0) > 0]
        parts.append(f'<text x="{LEFT - 10}" y="{y + len(drawn) * BAR / 2 + 4}" text-anchor="end" {TEXT}>{what}</text>')
        for kind in drawn:
            end = LEFT + length(values[kind])
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 2}" fill="{COLOURS[kind]}"/>'
                         f'<text x="{end + 5:.1f}" y="{y + BAR - 3}" {TEXT}>{values[kind]:.3g}</text>')
            y += BAR
        y += GAP
    return y
