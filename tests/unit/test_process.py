"""Starting programs: what they said, how they ended, and what must not be seen."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from postmaster import process
from postmaster.errors import ProcessError

PYTHON = sys.executable


def test_output_and_input_are_text_and_nothing_is_lost() -> None:
    program = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d + b'\\xff')"
    done = process.run([PYTHON, "-c", program], stdin="Grüße")
    assert done.stdout == "Grüße\udcff"
    assert done.status == 0


def test_a_failure_says_how_it_ended_and_what_it_said_last() -> None:
    program = "import sys; print('\\n'.join(map(str, range(20))), file=sys.stderr); sys.exit(3)"
    with pytest.raises(ProcessError) as caught:
        process.run([PYTHON, "-c", program], hint="look at it")
    assert "failed with exit status 3: 15; 16; 17; 18; 19" in caught.value.message
    assert caught.value.hint == "look at it"
    assert process.run([PYTHON, "-c", program], expect=(3,)).status == 3
    assert process.run([PYTHON, "-c", program], expect=None).status == 3


def test_a_signal_a_missing_program_and_a_slow_one() -> None:
    with pytest.raises(ProcessError, match="signal 9"):
        process.run([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(ProcessError, match="not installed"):
        process.run(["no-such-program"])
    with pytest.raises(ProcessError, match=r"did not finish within 0\.2 s"):
        process.run([PYTHON, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_a_file_that_is_no_program_may_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    with pytest.raises(ProcessError, match="may not be run"):
        process.run([str(tmp_path / "data")])


def test_secrets_are_masked_in_traces_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(process, "observers", [lambda command, outcome: seen.append(f"{command} {outcome}")])
    program = "import sys; print('wrong: hunter22', file=sys.stderr); sys.exit(1)"
    with pytest.raises(ProcessError) as caught:
        process.run([PYTHON, "-c", program, "hunter22"], secrets=["hunter22", ""])
    assert "hunter22" not in caught.value.message
    assert "********" in caught.value.message
    assert seen
    assert not any("hunter22" in line for line in seen)


def test_lines_stream_and_leaving_early_ends_the_program() -> None:
    endless = "import itertools\nfor n in itertools.count(): print(n)"
    with process.stream([PYTHON, "-c", endless]) as lines:
        assert [int(next(lines)) for _ in range(3)] == [0, 1, 2]


def test_a_stream_that_fails_says_so_at_its_end() -> None:
    program = "import sys; print('one'); print('broken', file=sys.stderr); sys.exit(2)"
    got: list[bytes] = []

    def read_all() -> None:
        with process.stream([PYTHON, "-c", program]) as lines:
            got.extend(lines)

    with pytest.raises(ProcessError, match="broken"):
        read_all()
    assert got == [b"one\n"]
    with pytest.raises(ProcessError, match="not installed"), process.stream(["no-such-program"]):
        pass


def test_a_stream_that_cannot_be_started_leaves_no_file_open() -> None:
    """Else a warning would come when it is collected."""
    for argv in (["true\0"], ["no-such-program"]):
        with pytest.raises((ValueError, ProcessError)), process.stream(argv):
            pass
        gc.collect()


def test_a_daemon_leaves_its_starter_at_once_with_the_usual_umask() -> None:
    process.start_daemon([PYTHON, "-c", "import os, sys; sys.exit(os.umask(0) != 0o022)"])
    with pytest.raises(ProcessError, match="cannot bind"):
        process.start_daemon([PYTHON, "-c", "import sys; sys.exit('cannot bind')"])
    with pytest.raises(ProcessError, match="not installed"):
        process.start_daemon(["no-such-program"])
    with pytest.raises(ProcessError, match="did not finish"):
        process.start_daemon([PYTHON, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_input_can_be_handed_over_whole() -> None:
    text = "x" * 200_000
    assert process.run(["cat"], stdin=text, whole=True).stdout == text
    assert process.run(["cat"], stdin="", whole=True).stdout == ""
    seekable = "import os; print(os.lseek(0, 0, os.SEEK_END))"  # no pipe, of which a part could come
    assert process.run([sys.executable, "-c", seekable], stdin=text, whole=True).stdout.strip() == str(
        len(text)
    )


def test_what_is_shared_is_asked_once_while_one_reading_lasts() -> None:
    asked: list[int] = []

    @process.shared
    def double(number: int) -> int:
        asked.append(number)
        if number < 0:
            raise ProcessError("no")
        return 2 * number

    assert [double(1), double(1)] == [2, 2]
    assert asked == [1, 1]
    asked.clear()
    with process.one_reading():
        threads = [threading.Thread(target=double, args=(number % 2,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [double(0), double(1), sorted(asked)] == [0, 2, [0, 1]]
        for _ in range(2):  # an error is not kept
            with pytest.raises(ProcessError):
                double(-1)
        assert asked.count(-1) == 2
    double(1)
    assert asked.count(1) == 2


@pytest.mark.parametrize("has_files", [True, False])
def test_children_are_those_that_a_process_started(has_files: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_files:  # a kernel without CONFIG_PROC_CHILDREN
        monkeypatch.setattr(Path, "exists", lambda _: False)
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([PYTHON, "-c", program], stdin=subprocess.PIPE) as one:
        try:
            assert one.pid in process.children(os.getpid())
            ends = time.monotonic() + 20
            while not (grown := process.children(one.pid)) and time.monotonic() < ends:
                time.sleep(0.01)
            assert len(grown) == 1
            assert grown[0] not in process.children(os.getpid())
        finally:
            assert one.stdin is not None
            one.stdin.close()
    assert process.children(one.pid) == []
