"""`postmaster queue watch`: the queue on a live screen, or one frame of it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from postmaster.cli.queue.choose import Chosen, choosing, read_chosen
from postmaster.cli.queue.summary import label
from postmaster.cli.state import Output
from postmaster.errors import PostmasterError, UsageError
from postmaster.postfix.queue import Listing
from postmaster.render.output import Format, duration, moment, size, timestamp, write_record

if TYPE_CHECKING:
    from postmaster.queue.message import Message
    from postmaster.queue.summary import Summary
    from postmaster.queue.watch import Frame

app = typer.Typer(rich_markup_mode=None, add_completion=False)

TOP = 10  # destinations and reasons at most
KEYS_EVERY = 2_000  # messages between two looks at the keyboard
RESTING = 3  # reading takes no more than one part in so many and one of the time


class _Quit(Exception):
    """The key q."""


@app.command(
    epilog="Examples: postmaster queue watch; postmaster queue watch 'recipient=*@example.org' --interval 2;"
    " postmaster queue watch --once"
)
@choosing
def watch(
    context: typer.Context,
    chosen: Chosen,
    interval: Annotated[
        float, typer.Option("--interval", "-n", min=0.5, max=3600, metavar="SECONDS", help="Look so often.")
    ] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    output: Output = Format.table,
) -> None:
    """Watch the queue: totals, arrivals and departures, top destinations and reasons, what is stuck.

    Ends with q or Ctrl-C. With -o jsonl it prints a line for each look instead of a screen.
    """
    from postmaster.queue.watch import Watcher

    if output is Format.csv or (output is Format.json and not once):
        raise UsageError(f"a watch cannot be printed as {output}", hint="-o jsonl, or --once -o json")
    screen = output is Format.table and not once
    if screen and not sys.stdout.isatty():
        raise UsageError(
            "a live screen needs a terminal", hint="--once prints one frame, -o jsonl a line each"
        )
    watcher = Watcher()
    if screen:
        _live(context, chosen, watcher, interval)
        return
    while True:
        frame = watcher.look(_read(context, chosen), time.time())
        if output is Format.table:
            for line, _ in lines(frame, _width(), None, _title(chosen)):
                print(line)
        else:
            write_record(sys.stdout, output, record(frame))
            sys.stdout.flush()
        if once:
            return
        time.sleep(interval)


def _read(context: typer.Context, chosen: Chosen) -> Iterator[Message]:
    from postmaster.queue.watch import NEEDS

    return read_chosen(context, chosen, Listing(), NEEDS)


def _live(context: typer.Context, chosen: Chosen, watcher: Any, interval: float) -> None:
    """The live screen, until q, Ctrl-C or a signal; the terminal is left as it was."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def draw(shown: Sequence[tuple[str, str]]) -> Text:
        return Text("\n").join(
            Text(line, style=style, no_wrap=True, overflow="crop") for line, style in shown
        )

    def messages() -> Iterator[Message]:
        for number, message in enumerate(_read(context, chosen)):
            if number % KEYS_EVERY == 0 and _key(0) == "q":
                raise _Quit
            yield message

    console = Console(highlight=False)
    frame, problem = None, "reading the queue …"
    with suppress(_Quit), _terminal(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            every = interval
            live.update(draw(_screen(frame, console, chosen, every, problem)), refresh=True)
            began = time.monotonic()
            try:
                frame, problem = watcher.look(messages(), time.time()), ""
            except PostmasterError as error:  # Postfix is stopped for a moment: go on looking
                problem = error.message
            took = time.monotonic() - began
            every = max(interval, took * (RESTING + 1))
            live.update(draw(_screen(frame, console, chosen, every, problem)), refresh=True)
            _wait(every - took)


def _screen(
    frame: Frame | None, console: Any, chosen: Chosen, every: float, problem: str
) -> list[tuple[str, str]]:
    title = f"{_title(chosen)} · every {every:.3g} s · q quits"
    width, height = console.size
    shown = [] if frame is None else lines(frame, width, height - bool(problem), title)
    return [*shown, (problem, "red")] if problem else shown


def _title(chosen: Chosen) -> str:
    return "queue" if chosen.node is None else f"queue, {chosen.node}"


def lines(frame: Frame, width: int, height: int | None, title: str) -> list[tuple[str, str]]:
    """A frame as (line, style), no line wider than `width`, no more than `height` of them (None: all)."""
    from postmaster.render.chart import fit

    total = frame.queues.total()
    queues = "  ".join(
        f"{name} {group.messages:,}" for name, group in sorted(frame.queues.groups.items(), key=str)
    )
    about = "about " if frame.estimated else ""
    rate = (
        "arrivals and departures: after the next look"
        if frame.arrivals is None or frame.departures is None
        else f"arrivals {about}{frame.arrivals:,.1f}/min  departures {about}{frame.departures:,.1f}/min"
    )
    made = [
        (f"{timestamp(moment(frame.now))} {title}", "bold"),
        (f"{total.messages:,} messages  {total.recipients:,} recipients  {size(total.bytes)}", ""),
        (queues or "no messages", ""),
        (rate, ""),
        (f"{frame.stuck:,} older than a day" if frame.stuck else "", "red"),
    ]
    sections = [
        ("RECIPIENTS   OLDEST  DESTINATION", _top(frame.destinations, frame.now)),
        ("RECIPIENTS   OLDEST  REASON", _top(frame.reasons, frame.now)),
        (
            "       AGE  OLDEST MESSAGES",
            [f"{duration(frame.now - m.arrival_time):>10}  {_describe(m)}" for m in frame.oldest],
        ),
    ]
    room = None if height is None else max(0, height - len(made)) // len(sections) - 2
    for heading, rows in sections:
        if rows and (room is None or room > 0):
            made += [("", ""), (heading, "bold"), *((row, "") for row in rows[:room])]
    cut = [(fit(line, width), style) for line, style in made]
    return cut if height is None else cut[: max(height, 1)]


def _top(found: Summary, now: int) -> list[str]:
    return [
        f"{group.recipients:>10,}  {duration(now - (group.oldest or now)):>7}  {label(key, found.by)}"
        for key, group in found.whole(TOP)
    ]


def _describe(message: Message) -> str:
    first = message.recipients[0] if message.recipients else None
    more = len(message.recipients) - 1
    to = "" if first is None else f"{first.address} (+{more})" if more > 0 else first.address
    reason = next((r.delay_reason for r in message.recipients if r.delay_reason), None)
    return f"{message.queue_id}  {message.sender or '<>'} → {to}" + (f"  {reason}" if reason else "")


def record(frame: Frame) -> dict[str, Any]:
    """A frame as JSON has it. Rates are per minute."""
    total = frame.queues.total()
    return {
        "time": moment(frame.now),
        "messages": total.messages,
        "recipients": total.recipients,
        "bytes": total.bytes,
        "oldest": None if total.oldest is None else moment(total.oldest),
        "queues": {str(name): group.messages for name, group in frame.queues.groups.items()},
        "arrivals_per_minute": None if frame.arrivals is None else round(frame.arrivals, 2),
        "departures_per_minute": None if frame.departures is None else round(frame.departures, 2),
        "rates_estimated": frame.estimated,
        "older_than_a_day": frame.stuck,
        "destinations": [
            {"group": key, "recipients": group.recipients} for key, group in frame.destinations.whole(TOP)
        ],
        "reasons": [
            {
                "dsn": key[0] or None if isinstance(key, tuple) else None,
                "group": key[1] if isinstance(key, tuple) else key,
                "recipients": group.recipients,
                "example": group.example,
            }
            for key, group in frame.reasons.whole(TOP)
        ],
        "oldest_messages": [
            {
                "instance": message.instance,
                "queue_name": message.queue_name,
                "queue_id": message.queue_id,
                "arrival_time": moment(message.arrival_time),
                "sender": message.sender,
            }
            for message in frame.oldest
        ],
    }


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 200


@contextmanager
def _terminal() -> Iterator[None]:
    """Keys come one by one and unseen; SIGTERM ends this as a return does. Both are put back."""
    before = signal.signal(signal.SIGTERM, _terminated)
    keyboard = sys.stdin.isatty()
    settings: list[Any] = []
    if keyboard:
        import termios

        settings = termios.tcgetattr(sys.stdin)
        changed = termios.tcgetattr(sys.stdin)
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        changed[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the shell on this screen
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        if keyboard:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _wait(seconds: float) -> None:
    """Wait, or until a key: q quits, any other looks again at once."""
    key = _key(max(seconds, 0.1))
    if key == "q":
        raise _Quit


def _key(seconds: float) -> str | None:
    """The key that is pressed within so many seconds, None for none."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return None
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return None
    pressed = os.read(sys.stdin.fileno(), 64)
    if not pressed:  # the terminal is gone
        raise _Quit
    return "q" if pressed in (b"q", b"Q", b"\x1b", b"\x04") else pressed[:1].decode("latin-1")
