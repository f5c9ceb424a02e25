"""A terminal's screen (`tmux capture-pane -e -p`) as HTML: text cell by cell with the colours that the program set."""

import html
import re
import sys

NORMAL = {"fg": None, "bg": None, "bold": False, "italic": False, "underline": False, "reverse": False}
FG, BG = "#e0e2ea", "#14161b"  # Neovim's default colours
BASIC = ["#14161b", "#ffc0b9", "#b3f6c0", "#fce094", "#a6dbff", "#ffcaff", "#8cf8f7", "#e0e2ea"]


def colour(codes: list[int]) -> str:
    """Takes the operands of 38 or 48 off the list."""
    if codes.pop(0) == 2:
        return "#%02x%02x%02x" % (codes.pop(0), codes.pop(0), codes.pop(0))
    n = codes.pop(0)
    if n < 16:
        return BASIC[n % 8]
    if n >= 232:
        return "#%02x%02x%02x" % ((8 + 10 * (n - 232),) * 3)
    steps = [0, 95, 135, 175, 215, 255]
    n -= 16
    return "#%02x%02x%02x" % (steps[n // 36], steps[n // 6 % 6], steps[n % 6])


def apply(style: dict, codes: list[int]) -> None:
    while codes:
        code = codes.pop(0)
        if code == 0:
            style.update(NORMAL)
        elif code in (1, 3, 4, 7):
            style[{1: "bold", 3: "italic", 4: "underline", 7: "reverse"}[code]] = True
        elif code in (22, 23, 24, 27):
            style[{22: "bold", 23: "italic", 24: "underline", 27: "reverse"}[code]] = False
        elif code in (38, 48):
            style["fg" if code == 38 else "bg"] = colour(codes)
        elif code in (39, 49):
            style["fg" if code == 39 else "bg"] = None
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style["fg"] = BASIC[code % 10]
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style["bg"] = BASIC[code % 10]


def css(style: dict) -> str:
    fg, bg = style["fg"] or FG, style["bg"] or BG
    if style["reverse"]:
        fg, bg = bg, fg
    extra = "font-weight:bold;" * style["bold"] + "font-style:italic;" * style["italic"] + "text-decoration:underline;" * style["underline"]
    return f"color:{fg};background:{bg};{extra}"


def main() -> None:
    style = dict(NORMAL)
    rows = []
    for line in open(sys.argv[1], encoding="utf-8").read().rstrip("\n").split("\n"):
        row = []
        for codes, text in re.findall(r"\x1b\[([\d;:]*)m|([^\x1b]+)", line):
            if text:
                row.append(f'<span style="{css(style)}">{html.escape(text)}</span>')
            else:
                apply(style, [int(c) for c in re.split("[;:]", codes or "0") if c])
        rows.append("".join(row))
    body = "\n".join(rows)
    print(f'<meta charset="utf-8"><body style="margin:0;background:{BG}"><pre style="margin:14px;font:15px/20px \'DejaVu Sans Mono\',monospace">{body}</pre>')


main()
