/**
 * The Python program that runs unchecked code. It limits itself before that code runs, by what the system offers: limits of the process, a
 * filter of system calls (no new process or program, and no socket but pairs within the process; Linux), Landlock (outside its folder nothing is written, and nothing read but
 * Python and what the system brings; Linux), and Python's own audit events everywhere. A program that breaks a rule is ended at once.
 *
 * Standard input is a line of JSON with `program`, `seconds`, `bytes`, `fileBytes` and `secret`. Standard output is `begun ` and how it ended.
 * That is the secret only if the program came to its end, so that an exit of its own never looks like success; else `memory`, `forbidden` or
 * `failed`.
 */
export const pythonJudge = String.raw`
import json, os, sys
job = json.loads(sys.stdin.readline())
out = os.dup(1)
nowhere = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(nowhere, fd)
home = os.path.realpath(os.getcwd())
# What may be read: Python, wherever it is, and folders that hold no files of a user. Missing ones are left out.
of_python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.__file__), sys.executable, *sys.path]
of_system = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew", "/snap", "/System", os.environ.get("SystemRoot"),
    "/proc", "/sys/devices/system/cpu", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/usr/share/zoneinfo", "/etc/zoneinfo", "/etc/localtime", "/etc/timezone",
    "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/mime.types", "/etc/os-release", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies",
]
readable = {os.path.realpath(place) for place in of_python + of_system if place and os.path.exists(place)} - {os.sep}

def end(word):
    os.write(out, word.encode())
    os._exit(3)

def limit(limits):
    try:
        import resource
    except ImportError:
        return
    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name, None)
        try:
            if kind is not None:
                resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            pass

limit({"CPU": int(job["seconds"]), "AS": job["bytes"], "DATA": job["bytes"], "FSIZE": job["fileBytes"], "NOFILE": 64, "CORE": 0})

# Whether the system filters calls from here on.
def filter_calls():
    import ctypes, platform, struct
    libc = ctypes.CDLL(None, use_errno=True)
    machine = platform.machine()
    # AUDIT_ARCH, and the numbers of fork, vfork, execve, execveat, socket, connect, bind, ptrace, kill, tkill, io_uring_setup,
    # pidfd_send_signal; then socketpair, clone, clone3.
    known = {
        "x86_64": (0xC000003E, (57, 58, 59, 322, 41, 42, 49, 101, 62, 200, 425, 424), 53, 56, 435),
        "aarch64": (0xC00000B7, (221, 281, 198, 203, 200, 117, 129, 130, 425, 424), 199, 220, 435),
    }
    if machine in known:
        arch, calls, pair, clone, clone3 = known[machine]
        KILL, ALLOW, ENOSYS = 0x80000000, 0x7FFF0000, 0x00050000 | 38
        code = [(0x20, 0, 0, 4), (0x15, 1, 0, arch), (0x06, 0, 0, KILL), (0x20, 0, 0, 0)]
        # The x32 calls have numbers of their own.
        code += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, KILL)]
        for call in calls:
            code += [(0x15, 0, 1, call), (0x06, 0, 0, KILL)]
        code += [(0x15, 0, 1, clone3), (0x06, 0, 0, ENOSYS)]
        # asyncio wakes itself by a pair of AF_UNIX and SOCK_STREAM, which, unlike SOCK_DGRAM, sends to no other address.
        code += [(0x15, 0, 7, pair), (0x20, 0, 0, 16), (0x15, 0, 3, 1), (0x20, 0, 0, 24), (0x54, 0, 0, 0xF), (0x15, 1, 0, 1), (0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)]
        # A thread is no process: CLONE_THREAD.
        code += [(0x15, 0, 3, clone), (0x20, 0, 0, 16), (0x45, 1, 0, 0x10000), (0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)]
        raw = b"".join(struct.pack("HBBI", *line) for line in code)
        held = ctypes.create_string_buffer(raw)
        class Program(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
        program = Program(len(code), ctypes.cast(held, ctypes.c_void_p))
        libc.prctl(38, 1, 0, 0, 0)
        confine(libc, ctypes, struct)
        return libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
    return False

def confine(libc, ctypes, struct):
    # Landlock: everything that changes or reads files is handled, and allowed beneath the folder, and reading where it may be.
    version = libc.syscall(444, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    changes = 0x1FF2
    if version >= 2:
        changes |= 1 << 13
    if version >= 3:
        changes |= 1 << 14
    read_file, read_folder = 1 << 2, 1 << 3
    everything = changes | read_file | read_folder
    attributes = struct.pack("Q", everything)
    rules = libc.syscall(444, attributes, ctypes.c_size_t(8), 0)
    if rules < 0:
        return
    places = [(place, read_file | (read_folder if os.path.isdir(place) else 0)) for place in readable]
    places += [(home, everything), (os.devnull, 0x2 | (1 << 14 if version >= 3 else 0))]
    for place, allowed in places:
        fd = os.open(place, os.O_PATH)
        libc.syscall(445, rules, 1, struct.pack("=Qi", allowed, fd), 0)
        os.close(fd)
    libc.syscall(446, rules, 0)
    os.close(rules)

# Linux counts the threads of users other than root as processes, so it limits these by the filter if it can.
if sys.platform != "linux" or not filter_calls():
    limit({"NPROC": 0})

def is_in(path, places):
    if isinstance(path, int) or path is None:
        return True
    found = os.path.realpath(os.fsdecode(path))
    return any(found == place or found.startswith(place + os.sep) for place in places)

def is_home(path):
    return is_in(path, (home, os.devnull))

def is_readable(path):
    return is_home(path) or is_in(path, readable)

changing = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
# fcntl.fcntl: it can have the system send a signal to another process.
never = ("socket.", "ctypes.", "subprocess.", "pty.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "os.kill", "os.putenv_", "resource.", "fcntl.fcntl", "winreg.", "_winapi.", "msvcrt.")
paths = {"os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.mkdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.rmtree": 1, "shutil.move": 2, "os.mkfifo": 1, "os.mknod": 1}
state = {"busy": False}

# AF_UNIX, SOCK_STREAM (without its flags): half of a pair, or a socket that can do nothing, since connect and bind are forbidden.
def is_pair(event, given):
    return event == "socket.__new__" and given[1] == 1 and given[2] & 0xF == 1

def watch(event, given):
    if state["busy"]:
        return
    if event.startswith(never) and not is_pair(event, given):
        end("forbidden")
    state["busy"] = True
    try:
        if event == "open":
            path, mode, flags = given
            writes = isinstance(flags, int) and flags & changing or isinstance(mode, str) and any(c in mode for c in "wax+")
            if not (is_home if writes else is_readable)(path):
                end("forbidden")
        elif event in ("os.listdir", "os.scandir") and not is_readable(given[0] or os.curdir):
            end("forbidden")
        elif event in paths and not all(is_home(path) for path in given[:paths[event]]):
            end("forbidden")
    finally:
        state["busy"] = False

os.write(out, b"begun ")
sys.addaudithook(watch)
secret = job.pop("secret")
program = job.pop("program")
try:
    exec(compile(program, "answer.py", "exec"), {"__name__": "__main__"})
except MemoryError:
    end("memory")
except BaseException:
    end("failed")
os.write(out, secret.encode())
os._exit(0)
`;
