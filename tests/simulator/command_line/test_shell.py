"""Shell text is read as a shell reads it, and nothing of it is run."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.command_line.pattern import block_pattern
from simulator.command_line.shell import MOST_CHARACTERS, read_script
from simulator.command_line.sums import whole_number
from simulator.errors import InputError


def words(text):
    """The words of the last command."""
    return list(read_script(text, name="t").commands[-1].words)


# Every text ends in a command `show` whose words a shell would print; bash itself is the judge where it is there.
TEXTS = {
    "plain": "show a b  c",
    "continued": "show a \\\n  b \\\n  c",
    "comment": "# show x\nshow a # b\n",
    "single quotes": "show 'a b' '$X' ''",
    "double quotes": 'X=1; show "a $X b" "c\\"d" "e\\\\"',
    "glued": "X=1; show a'b c'\"d $X\"e",
    "variable": "X=8\nshow $X ${X} x${X}y",
    "split": "X='a b  c'; show $X",
    "kept together": "X='a b  c'; show \"$X\"",
    "empty variable": "X=; show a $X b \"$X\"",
    "blanks around": "X=' b '; show a$X'c'",
    "default": "show ${X:-a} ${X-b} \"${X:-c d}\" ${X:-e f}",
    "default not used": "X=1; show ${X:-a} ${X:+b} y${Z:+c}y",
    "default of a variable": "Y=2; show ${X:-$Y} ${X:-\"${Y}3\"}",
    "array": "X=(a 'b c' d); show \"${X[@]}\" ${X[@]} ${X}",
    "assignments in an array": "A=(B=1 C=(x)\n"[:8] + "); show ${A[@]}",
    "array over lines": "X=(\n  a # first\n  # b\n  c\n)\nshow ${X[@]}",
    "appended": "X=(a); X+=(b c); Y=d; Y+=e; show ${X[@]} $Y",
    "arrays of arrays": 'A=(a b); B=(c "${A[@]}"); show "${B[@]}"',
    "export": "export X=1 Y=2; show $X$Y",
    "sum": "A=8; B=16; show $(($A*$B)) $((A*B+3)) $(( (A-2) / 4 )) $((17%5)) $((-7/2))",
    "if equal": "X=fp8; if [ $X = fp8 ]; then A=yes; else A=no; fi; show $A",
    "if not equal": 'X=fp8\nif [[ "$X" != "fp8" ]]; then\n A=yes\nelse\n A=no\nfi\nshow $A',
    "elif": "X=b; if [ $X = a ]; then A=1; elif [ $X = b ]; then A=2; else A=3; fi; show $A",
    "if unset": 'if [ -z "$NEVER_SET" ]; then A=1; fi; if [ -n "$NEVER_SET" ]; then A=2; fi; show $A',
    "or": 'X=a; if [[ $X == b ]] || [[ $X == a ]]; then A=1; fi; show $A',
    "and": "X=3; if [ $X -gt 2 ] && [ $X -lt 3 ]; then A=1; else A=2; fi; show $A",
    "nested": "X=1; if [ $X = 2 ]; then if [ $X = 1 ]; then A=1; fi; A=2; else A=3; fi; show $A",
    "not": "X=1; if ! [ $X = 2 ]; then A=1; fi; show $A",
    "one value of a loop": "for i in 5; do A=$i; done; show $A",
    "redirected": "show a b > /dev/null 2>&1",
    "piped": "true | show a",
    "here document": "cat > /dev/null <<END\nshow x ( ' \"\nEND\nshow y",
    "prefix": "X=1 show a",
    "assignment as a word": "show --a=b A=3",
    "dollar": "show a$ '$' \"b$\"",
    "semicolon in quotes": "show 'a;b' \"c&d\"",
}  # fmt: skip
BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="there is no bash to compare with")
@pytest.mark.parametrize("name", TEXTS)
def test_words_are_those_of_bash(name):
    text = TEXTS[name]
    script = 'show() { for word in "$@"; do printf \'<%s>\\n\' "$word" >&3; done; }\n' + text
    done = subprocess.run(
        [BASH, "--norc", "-c", f"exec 3>&1\n{script}"],
        capture_output=True,
        text=True,
        timeout=20,
        env={"PATH": "/usr/bin:/bin"},
    )
    expected = [line[1:-1] for line in done.stdout.splitlines()]
    shown = [c for c in read_script(text, name="t").commands if c.words[0] == "show"]
    assert list(shown[-1].words[1:]) == expected, done.stderr


def test_what_is_not_defined_stays_as_it_is_written():
    assert words("show $NOWHERE ${NOWHERE} $1 $(hostname) `hostname` ${X%%.*} $((A*2))") == [
        "show", "$NOWHERE", "${NOWHERE}", "$1", "$(hostname)", "`hostname`", "${X%%.*}", "$((A*2))",
    ]  # fmt: skip


def test_nothing_is_run_and_no_variable_of_this_process_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    trap = tmp_path / "made"
    read_script(f"touch {trap}; A=$(touch {trap}); B=`touch {trap}`; show $A $B > {trap}", name="t")
    assert not trap.exists()
    assert words("show $SECRET $HOME") == ["show", "$SECRET", "$HOME"]


def test_a_condition_that_is_not_known_is_left_out_and_said():
    script = read_script("if [ $GPUS = 3 ]; then show a; fi\nif test -f x; then show b; fi\nshow c", name="t")
    assert [command.words[-1] for command in script.commands] == ["c"]
    assert len(script.notes) == 2
    assert script.notes[0].startswith("line 1: ")


def test_a_loop_is_read_once_and_said():
    script = read_script("for n in 8 16; do show $n; done", name="t")
    assert [command.words for command in script.commands] == [("show", "8")]
    assert "n = 8" in script.notes[0]


def test_lines_of_the_batch_system_are_found():
    assert read_script("#!/bin/bash\n#SBATCH --nodes=16\n#SBATCH -n 3\nshow", name="t").directives == (
        "--nodes=16",
        "-n",
        "3",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("show 'a", "t:1: a quote '"), ('\n\nshow "a', 't:3: a quote "'), ("X=(a b\nshow", "t:1: a bracket '('"),
        ("show ${X", "t:1: '${'"), ("show $(x", "t:1: '$('"), ("cat <<END\nx", "'<<END'"),
        ("x" * 500_000, "500000 characters"),
    ],
)  # fmt: skip
def test_text_that_does_not_close_is_one_line(text, said):
    with pytest.raises(InputError) as caught:
        read_script(text, name="t")
    assert said in caught.value.problems[0]
    assert "\n" not in caught.value.problems[0]


@pytest.mark.parametrize(
    "bomb",
    [
        "A=xxxxxxxxxx\n" + "A=$A$A\n" * 60,
        "A=(x x x x x x x x)\n" + "A=(${A[@]} ${A[@]})\n" * 40,
        "A=xxxxxxxxxx\n" + "A+=$A\n" * 60,
        "A=$((9999999999*9999999999*9999999999))",
        "show " + "${A:-" * 50 + "}" * 50,
        "A=(" * 100_000,
        "A=(" * 1000 + ")" * 1000,
        "show " + "$a" * 150_000,
        "show " + "$(" * 1000 + ")" * 1000,
        "if [ 1 = 1 ]; then\n" * 10_000,
        "show " + "$((" + "(" * 150 + "1" + ")" * 150 + "))",
    ],
)
def test_text_that_grows_without_end_is_refused_or_left_alone(bomb):
    try:
        commands = read_script(bomb, name="t").commands
    except InputError as error:
        said = error.problems[0]
    else:
        said = ""
        assert all(sum(map(len, command.words)) <= 2 * MOST_CHARACTERS for command in commands)
    assert not said or "beyond" in said or "never closed" in said or "nested" in said


@given(st.text(alphabet="ab $(){}[]\"'`\\#;&|<>=+-:@*!~\n\t\x00é8", max_size=60))
def test_any_text_is_read_or_refused_in_lines(text):
    problems = ()
    try:
        read_script(text, name="t")
    except InputError as error:
        problems = error.problems
    assert all("\n" not in problem for problem in problems)


@given(st.text(alphabet="0123456789+-*/%() AB$", max_size=30))
def test_sums_are_those_of_python_where_there_are_any(text):
    found = whole_number(text, {"A": "7", "B": "-3"})
    if found is not None:
        assert isinstance(found, int)
        assert abs(found) <= 10**18


@pytest.mark.parametrize(
    ("text", "value"), [("8*16", 128), ("-7/2", -3), ("7%-3", 1), ("2+3*4", 14), ("(2+3)*4", 20),
                        ("--3", 3), ("1/0", None),
                        ("$A*2", 14), ("${A}", 7), ("C", None), ("2**3", None), ("", None)],
)  # fmt: skip
def test_sums(text, value):
    assert whole_number(text, {"A": "7"}) == value


@pytest.mark.parametrize(
    ("text", "layers", "marked"),
    [
        ("1", 4, [0, 1, 2, 3]), ("2", 5, [0, 2, 4]), ("([0]*1+[1]*3)", 4, [1, 2, 3]),
        ("([1]*2+[0]*1)*2", 6, [0, 1, 3, 4]),
        ("[0,1,1]", 3, [1, 2]), ("[0]+[1]*2", 3, [1, 2]),
    ],
)  # fmt: skip
def test_patterns_of_blocks(text, layers, marked):
    assert [i for i, on in enumerate(block_pattern(text, layers)) if on] == marked


@pytest.mark.parametrize(
    "text", ["0", "", "[1]*3", "[2]*4", "[1]*99999999", "(" * 99, "__import__('os')", "[1]+", "([1]*4", "1.5"]
)
def test_patterns_that_are_none(text):
    assert block_pattern(text, 4) is None
