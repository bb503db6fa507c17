# SPDX-License-Identifier: Apache-2.0
"""The rules of this tree that a program can check. RULES at the end is the list; each prints its findings as

    FILE:LINE: what is wrong. What to do.

and then `ok NAME` or `FAIL NAME`. A line that breaks a rule with good reason says so on the line itself or on the one
above, with `tidy: REASON`. The tables in here are the places where the rules are decided: which folder may include
what (LAYERS), which calls are banned (BANNED), which source is tested elsewhere (TESTED_ELSEWHERE)."""
import argparse
import codecs
import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS, COLUMNS_PYTHON, FUNCTION_LINES, FILE_LINES, README_LINES, PARAMETERS = 100, 140, 70, 700, 15, 8

# What each folder of src/ may include besides itself: folders, or single headers of folders.
EVERYTHING_BELOW = ["base", "core", "yaml", "media", "cas/cas.h", "store/store.h", "catalogue", "request", "config",
                    "fetch", "webhook", "provenance", "engine/engine.h", "http", "ws/ws.h", "ws/handshake.h", "jobs/jobs.h", "store/jobs.h"]
LAYERS = {
    "base": [],
    "core": ["base"],
    "yaml": ["base"],
    "media": ["base", "core"],
    "cas": ["base"],
    "store": ["base"],
    "catalogue": ["base", "core", "yaml"],
    "request": ["base", "core", "media/media.h", "catalogue/catalogue.h"],
    "config": ["base", "core", "yaml", "cas/cas.h", "engine/engine.h", "engine/tensor/mapping.h",
               "engine/process/limits.h"],
    "fetch": ["base"],
    "webhook": ["base", "fetch", "store/jobs.h", "store/store.h"],
    "provenance": ["base", "core", "engine/engine.h"],
    "signer": ["base", "provenance/signer_proto.h", "provenance/statement.h"],
    "engine": ["base", "core", "media/media.h"],
    "http": ["base"],
    "jobs": ["base", "core", "store/store.h", "store/jobs.h"],
    "ws": ["base", "request/json.h", "jobs/jobs.h"],
    "gateway": EVERYTHING_BELOW,
    "librender": ["base", "provenance/verify.h", "render.h"],
    "cli": ["base", "provenance/verify.h", "render.h"],
}

# Calls that are not made, where they are all the same, and what to do instead.
BANNED = [
    (r"malloc|calloc|realloc|free", ["src/base/mem.c"],
     "use base/mem.h; what a library handed over says so: tidy: REASON"),
    (r"strcpy|strcat|sprintf|vsprintf|gets|strtok", [], "use snprintf or struct rd_buf"),
    (r"atoi|atol|atoll|atof", [], "use rd_text_u64, which says when it is no number"),
    (r"system|popen", [], "start programs with posix_spawn and a list of words"),
    (r"rand|srand|random|srandom|rand_r", [], "use rd_id_random"),
    (r"time|gettimeofday|clock|localtime|gmtime|ctime", ["src/base/"], "use base/clock.h"),
    (r"alloca", [], "use a named limit and an array, or the arena"),
    (r"setjmp|longjmp|sigsetjmp|siglongjmp",
     ["src/media/png.c", "src/media/jpeg.c", "src/media/jpeg_damage.c", "src/media/check_jpeg.c"],
     "return an error; only libpng and libjpeg leave no other way"),
    (r"signal", ["src/gateway/main.c", "src/signer/main.c", "src/cli/"], "signals belong to programs, not to libraries"),
    (r"assert_perror|exit|abort", ["src/gateway/main.c", "src/signer/main.c", "src/cli/", "src/base/clock.c"],
     "libraries return errors; what cannot happen says why: tidy: REASON"),
]
SECRETS = r"(?:memcmp|strcmp|strncmp)\s*\([^;]*(?:secret|token|key_text|pepper|signature|mac\b|hmac)"

# Sources without a test program of their own name, and what tests them; a folder stands for all of its sources.
TESTED_ELSEWHERE = {
    "src/cas/": "tests/unit/cas/cas_test.c",  # one store behind one face; recover_test.c kills it at every step
    "src/cli/": "tests/blackbox/test_clients.py",
    "src/core/queue_check.c": "tests/unit/core/queue_fixture.h",  # asked after every step of every test
    "src/core/queue_timer.c": "tests/unit/core/queue_test.c",
    "src/engine/builtin/": "tests/unit/engine/builtin_test.c",
    "src/engine/engine.c": "tests/unit/engine/conformance.c",
    "src/engine/http/": "tests/unit/engine/http_test.c",
    "src/engine/openai/": "tests/unit/engine/openai_test.c",
    "src/engine/triton/": "tests/unit/engine/grpc_test.c",
    "src/engine/process/": "tests/unit/engine/process_test.c",
    "src/engine/tensor/answer_file.c": "tests/unit/engine/tensor_answer_test.c",
    "src/fetch/url.c": "tests/unit/fetch/guard_test.c",
    "src/gateway/answer.c": "tests/blackbox/test_sync.py",
    "src/gateway/assets.c": "tests/blackbox/test_storage.py",
    "src/gateway/backends.c": "tests/blackbox/test_backends.py",
    "src/gateway/attest.c": "tests/blackbox/test_verify.py",
    "src/gateway/replay.c": "tests/blackbox/test_jobs.py",
    "src/gateway/events.c": "tests/blackbox/test_events.py",
    "src/gateway/jobrun.c": "tests/blackbox/test_jobs.py",
    "src/gateway/jobs.c": "tests/blackbox/test_jobs.py",
    "src/gateway/queue.c": "tests/blackbox/test_jobs.py",
    "src/gateway/run.c": "tests/blackbox/test_sync.py",
    "src/gateway/submission.c": "tests/blackbox/test_jobs.py",
    "src/gateway/generate.c": "tests/blackbox/test_sync.py",
    "src/gateway/info.c": "tests/blackbox/test_openapi.py",
    "src/gateway/intake.c": "tests/blackbox/test_storage.py",
    "src/gateway/keys.c": "tests/blackbox/test_life.py",
    "src/gateway/main.c": "tests/blackbox/test_life.py",
    "src/gateway/objects.c": "tests/blackbox/test_storage.py",
    "src/gateway/routes.c": "tests/blackbox/test_wire.py",
    "src/gateway/runtime.c": "tests/blackbox/test_life.py",
    "src/gateway/sources.c": "tests/blackbox/test_sources.py",
    "src/gateway/uploads.c": "tests/blackbox/test_storage.py",
    "src/gateway/webhooks.c": "tests/blackbox/test_webhooks.py",
    "src/http/loop.c": "tests/unit/http/server_test.c",
    "src/http/watch.c": "tests/unit/http/suspend_test.c",
    "src/jobs/": "tests/unit/jobs/jobs_test.c",  # one driver behind one face; tests/simulate as well
    "src/librender/answer.c": "tests/unit/librender/client_test.c",
    "src/gateway/ws.c": "tests/blackbox/test_ws.py",
    "src/librender/watch.c": "tests/unit/librender/jobs_test.c",
    "src/librender/http.c": "tests/unit/librender/client_test.c",
    "src/media/check_jpeg.c": "tests/unit/media/check_test.c",
    "src/media/check_mp4.c": "tests/unit/media/check_test.c",
    "src/media/check_png.c": "tests/unit/media/check_test.c",
    "src/media/check_webp.c": "tests/unit/media/check_test.c",
    "src/media/jpeg_damage.c": "tests/unit/media/jpeg_test.c",
    "src/media/mp4_ffmpeg.c": "tests/unit/media/mp4_test.c",
    "src/provenance/parameters.c": "tests/unit/provenance/statement_test.c",
    "src/request/readers.c": "tests/unit/request/parse_test.c",
    "src/request/request_fields.c": "tests/unit/request/openapi_check.py",
    "src/signer/": "tests/unit/provenance/signer_test.c",
    "src/store/": "tests/unit/store/store_test.c",
    "src/webhook/try.c": "tests/unit/webhook/sender_test.c",
}

# Machine paths and package hosts have no business here, nor do the words below (in rot13, so that this file
# passes its own rule).
HIDDEN = [codecs.decode(word, "rot13") for word in
          ["nagu" "ebcvp", "pynh" "qr", "pung" "tcg", "tvguho pbcv" "ybg", "fho" "ntrag", "fhcre" "ivfbe frffvba"]]
UNWANTED = re.compile("|".join(HIDDEN) + r"|/(?:work|root)/(?!\.)|/home/[a-z]|pypi\.|files\.pythonhosted|"
                      r"registry\.npmjs|deb\.debian\.org|crates\.io", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")

# Every parser that reads bytes from outside, by the name of its fuzz target.
PARSERS = ["request", "data_uri", "range", "image", "config", "catalogue", "accept", "conditional", "url", "cas_pack",
           "signer_frame", "envelope", "jwks", "engine_process", "engine_reply", "engine_openai", "grpc_message",
           "tensor_answer", "triton_answer", "sse", "webhook", "ws"]


class Findings(list):
    def add(self, path, line, what, do):
        self.append(f"{path}:{line}: {what}. {do}.")


@functools.lru_cache
def files():
    """Tracked and new files, as paths from the top, that are text and no picture or seed."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file() and not name.startswith("tests/fuzz/corpus/")]


@functools.lru_cache
def text_of(name):
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return ""


def lines_of(name):
    return text_of(name).splitlines()


def c_files(*tops):
    return [name for name in files() if name.endswith((".c", ".h")) and name.startswith(tops or ("",))]


def excused(lines, index):
    """The line, or the one above it, gives a reason."""
    return any("tidy: " in lines[i] for i in (index, index - 1) if i >= 0)


@functools.lru_cache
def code_of(name):
    """The text with comments, strings and characters blanked out, lines kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0]) if match[0][0] == "/" else '""' + "\n" * match[0].count("\n")
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text_of(name), flags=re.DOTALL)


# ---- single files ----

def rule_licence(found):
    for name in files():
        script = name.startswith("scripts/") or name in (".ci/run", "Makefile")
        if not (name.endswith((".c", ".h", ".def", ".py")) or script):
            continue
        head = lines_of(name)[:2]
        if not any("SPDX-License-Identifier: Apache-2.0" in line for line in head):
            found.add(name, 1, "no SPDX line", "Begin with SPDX-License-Identifier: Apache-2.0")


def rule_essays(found):
    for name in c_files("src/", "include/", "tests/", "bench/", "examples/"):
        match = re.match(r"/\*.*?\*/", text_of(name), re.DOTALL)
        if match is None or match[0].count("\n") < 2:
            found.add(name, 1, "the first comment says nothing", "Say what the file is, in the comment of the SPDX line")


def rule_columns(found):
    for name in files():
        limit = COLUMNS if name.endswith((".c", ".h")) else COLUMNS_PYTHON if name.endswith(".py") else None
        for number, line in enumerate(lines_of(name) if limit else [], 1):
            if len(line) > limit:
                found.add(name, number, f"{len(line)} columns", f"Break it at {limit}")
            if line != line.rstrip() or "\t" in line:
                found.add(name, number, "a tab, or a blank at the end", "Remove it")


def rule_sizes(found):
    for name in files():
        if name.endswith((".c", ".h", ".py")) and len(lines_of(name)) > FILE_LINES:
            found.add(name, FILE_LINES + 1, f"{len(lines_of(name))} lines", f"Split it below {FILE_LINES}")


def functions(name):
    """(line, header, lines of body and header) of each function in a C file laid out as ours are."""
    lines = code_of(name).splitlines()
    for end, line in enumerate(lines):
        if line != "}":
            continue
        start = end
        while start > 0 and lines[start] != "{":
            start -= 1
        first = start
        while first > 0 and lines[first - 1].strip() and not lines[first - 1].startswith(("}", "#")) and \
                not lines[first - 1].rstrip().endswith(";"):
            first -= 1
        header = " ".join(part.strip() for part in lines[first:start])
        if "(" in header and not header.startswith(("struct", "enum", "union")) or re.match(r"struct \S+ \*", header):
            yield first + 1, header, end - first + 1


def rule_functions(found):
    for name in c_files("src/", "tests/", "bench/", "examples/"):
        original = lines_of(name)
        for line, header, length in functions(name):
            if length > FUNCTION_LINES and not excused(original, line - 1):
                found.add(name, line, f"a function of {length} lines", f"Split it below {FUNCTION_LINES}")
            depth, count = 0, 1
            for char in header[header.find("("):]:
                depth += (char == "(") - (char == ")")
                count += char == "," and depth == 1
                if depth == 0:
                    break
            forced = header.startswith("static") and "on_" in header  # a library's callback
            if count > PARAMETERS and name.startswith("src/") and not forced and not excused(original, line - 1):
                found.add(name, line, f"a function of {count} parameters", "Make a struct of them")


def rule_calls(found):
    for name in c_files("src/", "examples/"):
        lines = lines_of(name)
        for number, code in enumerate(code_of(name).splitlines()):
            for pattern, homes, do in BANNED:
                match = re.search(rf"(?<![\w.>])({pattern})\s*\((?!\*)", code)
                if match and not any(name.startswith(home) for home in homes) and not excused(lines, number) and \
                        not name.startswith("examples/"):
                    found.add(name, number + 1, f"{match[1]}() is not called here", do.capitalize())
            if re.search(SECRETS, code) and not excused(lines, number):
                found.add(name, number + 1, "a secret compared in variable time", "Use rd_text_secret_eq")


def rule_words(found):
    for name in files():
        for number, line in enumerate(lines_of(name), 1):
            match = UNFINISHED.search(line)
            if match and name.endswith((".c", ".h", ".py", ".md", ".yaml", ".build")) and "XXXXXX" not in line:
                found.add(name, number, f"'{match[0]}'", "Finish it, or file an issue and delete it here")
            match = UNWANTED.search(line)
            if match:
                found.add(name, number, f"'{match[0]}'", "This has no business in the repository")


# ---- the tree ----

def src_folders():
    return [name for name in LAYERS if (ROOT / "src" / name).is_dir()]


def rule_readmes(found):
    for folder in src_folders():
        name = f"src/{folder}/README.md"
        if name not in files():
            found.add(name, 1, "missing", "Say in ten lines what the folder is, what to read first, what it may include")
        elif len(lines_of(name)) > README_LINES:
            found.add(name, README_LINES + 1, f"{len(lines_of(name))} lines", f"Say it in {README_LINES}")
    for path in (ROOT / "src").iterdir():
        if path.is_dir() and path.name not in LAYERS:
            found.add(f"src/{path.name}", 1, "a folder without a layer", "Add it to LAYERS in scripts/tidy.py")


def rule_layers(found):
    for name in c_files("src/"):
        folder = name.split("/")[1]
        allowed = [folder, *LAYERS.get(folder, [])]
        for number, line in enumerate(lines_of(name), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match or "/" not in match[1] and match[1] != "render.h":
                continue
            if match[1] not in allowed and match[1].split("/")[0] not in allowed:
                found.add(name, number, f"src/{folder} includes {match[1]}",
                          f"It may include {', '.join(LAYERS.get(folder, [])) or 'nothing else'}")


def rule_tests(found):
    for name in c_files("src/"):
        path = pathlib.PurePath(name)
        if path.suffix != ".c":
            continue
        folder = path.parts[1]
        names = {f"{path.stem}_test.c", "_".join([*path.parts[2:-1], path.stem]) + "_test.c"}
        tests = [test for test in files() if test.startswith(f"tests/unit/{folder}/")]
        if any(pathlib.PurePath(test).name in names for test in tests):
            continue
        elsewhere = TESTED_ELSEWHERE.get(name) or TESTED_ELSEWHERE.get(f"{path.parent}/")
        if elsewhere is None:
            found.add(name, 1, "no test is named after it",
                      f"Write tests/unit/{folder}/{path.stem}_test.c, or say in scripts/tidy.py what tests it")
        elif elsewhere is not None and elsewhere not in files():
            found.add(name, 1, f"{elsewhere} is not there", "Correct TESTED_ELSEWHERE in scripts/tidy.py")


def rule_fuzz(found):
    table = text_of("tests/fuzz/meson.build")
    readme = text_of("tests/fuzz/README.md")
    targets = {pathlib.PurePath(name).stem.removeprefix("fuzz_") for name in files()
               if re.match(r"tests/fuzz/fuzz_\w+\.c$", name)}
    for target in sorted(targets | set(PARSERS)):
        where = f"tests/fuzz/fuzz_{target}.c"
        seeds = ROOT / "tests/fuzz/corpus" / target
        if target not in targets:
            found.add(where, 1, "a parser without a fuzz target", "Write it")
        elif f"'{target}'" not in table:
            found.add(where, 1, "not built", "Add it to the table in tests/fuzz/meson.build")
        elif not seeds.is_dir() or not any(seeds.iterdir()):
            found.add(where, 1, "no seeds", f"Put some into tests/fuzz/corpus/{target}/")
        elif f"`{target}`" not in readme:
            found.add(where, 1, "not explained", "Add it to the table in tests/fuzz/README.md")


# ---- what the compiler's tools say ----

def rule_format(found):
    """clang-format in the one version that requirements.txt names, so that every machine agrees."""
    program = ROOT / ".venv/bin/clang-format"
    if not program.exists():
        found.add(".venv", 1, "clang-format is not here", "Run scripts/check, which installs it")
        return
    names = c_files("src/", "include/", "tests/", "bench/", "examples/")
    done = subprocess.run([program, "--dry-run", "--Werror", *names], cwd=ROOT, capture_output=True, text=True, check=False)
    seen = set()
    for match in re.finditer(r"^([^:\n]+):(\d+):\d+: error", done.stderr, re.MULTILINE):
        if match[1] not in seen:
            found.add(match[1], match[2], "not formatted", f"Run .venv/bin/clang-format -i {match[1]}")
        seen.add(match[1])
    if done.returncode != 0 and not seen:
        found.add(".clang-format", 1, done.stderr.strip()[:200], "Correct it")


def rule_headers(found):
    """Each header compiles alone; the public one also as C++ and as strict C11."""
    cflags = ["-Isrc", "-Iinclude", "-Ithird_party/blake3/src", "-D_GNU_SOURCE", '-DRD_VERSION="0"', "-fsyntax-only", "-Wall",
              "-Wextra", "-Werror", "-Wno-unused-function"]
    jobs = [(name, ["cc", "-std=c11", *cflags]) for name in c_files("src/", "include/") if name.endswith(".h")]
    strict = ["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    jobs += [("include/render.h", ["cc", "-std=c11", *strict]), ("include/render.h", ["clang", "-x", "c++", "-std=c++11", *strict])]
    for name, command in jobs:
        text = f'#include "{ROOT / name}"\n' if not name.startswith("src/") else f'#include "{name[4:]}"\n'
        language = [] if "-x" in command else ["-x", "c"]
        done = subprocess.run([*command, *language, "-"], input=text, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            found.add(name, 1, f"does not compile alone with {' '.join(command[:3])}: {first}", "Include what it uses")


def global_symbols(path, *arguments):
    listed = subprocess.run(["nm", "--defined-only", "-g", *arguments, path], capture_output=True, text=True, check=True)
    return [line.split()[-1] for line in listed.stdout.splitlines() if len(line.split()) == 3]


def rule_symbols(found, build):
    archives = sorted((ROOT / build).glob("src/*/librd_*.a"))
    if len(archives) < 10:
        found.add(build, 1, "no libraries here", "Run make build")
    for archive in archives:
        name = str(archive.relative_to(ROOT))
        for symbol in global_symbols(archive):
            if not symbol.startswith(("rd_", "render_" if "librender" in name or "rd_librender" in name else "rd_")):
                found.add(name, 1, f"the global name {symbol}", "Make it static, or begin it with rd_")
    for shared in (ROOT / build).glob("src/librender/librender.so"):
        for symbol in global_symbols(shared, "-D"):
            if not symbol.startswith("render_"):
                found.add(str(shared.relative_to(ROOT)), 1, f"exports {symbol}", "Keep it out in librender.map")


RULES = {
    "licence": (rule_licence, "each file begins with its licence"),
    "essays": (rule_essays, "each C file begins by saying what it is"),
    "format": (rule_format, "C as clang-format lays it out"),
    "columns": (rule_columns, f"{COLUMNS} columns, no tabs"),
    "sizes": (rule_sizes, f"files of at most {FILE_LINES} lines"),
    "functions": (rule_functions, f"functions of at most {FUNCTION_LINES} lines and {PARAMETERS} parameters"),
    "calls": (rule_calls, "no banned calls"),
    "words": (rule_words, "nothing unfinished, nothing that does not belong here"),
    "readmes": (rule_readmes, f"each folder of src/ has a README of at most {README_LINES} lines"),
    "layers": (rule_layers, "includes point down"),
    "tests": (rule_tests, "each source is tested, and it can be seen where"),
    "fuzz": (rule_fuzz, "each parser has a fuzz target with seeds"),
    "headers": (rule_headers, "each header compiles alone"),
    "symbols": (rule_symbols, "each global name begins with rd_"),
}


def main():
    parser = argparse.ArgumentParser(description="checks the rules of the tree")
    parser.add_argument("rules", nargs="*", metavar="RULE", help=", ".join(RULES))
    parser.add_argument("--build", default="build", help="where make build has built")
    options = parser.parse_args()
    failed = 0
    for name in options.rules or RULES:
        found = Findings()
        function, _ = RULES[name]
        function(found, options.build) if function is rule_symbols else function(found)
        for line in found:
            print(line)
        print(f"{'FAIL' if found else 'ok'} {name}", flush=True)
        failed += bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
