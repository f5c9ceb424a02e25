# Runs the code that is judged and answers the tester's calls. It may do what it likes to this process: all that it
# can say to the tester is what its functions return.
import io, json, os, sys

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
lines = sys.stdin.buffer
setup = json.loads(lines.readline())
sys.stdin = io.StringIO("")
objects, numbers = [], {}
PLAIN = (int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)


def send(message):
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def receive():
    line = lines.readline()
    if not line:
        os._exit(1)
    return json.loads(line)


def enc(v):
    if v is None:
        return None
    if v is True or v is False:
        return ["b", v is True]
    if isinstance(v, int):
        return ["i", hex(int.__int__(v))]
    if isinstance(v, float):
        return ["f", float.__repr__(v)]
    if isinstance(v, complex):
        return ["c", repr(v.real), repr(v.imag)]
    if isinstance(v, str):
        return ["s", str.__str__(v)]
    if isinstance(v, (bytes, bytearray)):
        return ["y", bytes(v).hex(), isinstance(v, bytearray)]
    for kind, name in ((list, "l"), (tuple, "t"), (set, "S"), (frozenset, "F")):
        if isinstance(v, kind):
            return [name, [enc(x) for x in kind.__iter__(v)]]
    if isinstance(v, dict):
        return ["d", [[enc(k), enc(x)] for k, x in dict.items(v)]]
    if isinstance(v, range):
        return ["r", v.start, v.stop, v.step]
    if id(v) not in numbers:
        numbers[id(v)] = len(objects)
        objects.append(v)
    return ["o", numbers[id(v)], hasattr(v, "__next__"), callable(v)]


def dec(m):
    if m is None:
        return None
    kind = m[0]
    if kind == "b":
        return m[1]
    if kind == "i":
        return int(m[1], 16)
    if kind == "f":
        return float(m[1])
    if kind == "c":
        return complex(float(m[1]), float(m[2]))
    if kind == "s":
        return m[1]
    if kind == "y":
        return bytearray.fromhex(m[1]) if m[2] else bytes.fromhex(m[1])
    if kind in "ltSF":
        return {"l": list, "t": tuple, "S": set, "F": frozenset}[kind](dec(x) for x in m[1])
    if kind == "d":
        return {dec(k): dec(x) for k, x in m[1]}
    if kind == "r":
        return range(m[1], m[2], m[3])
    if kind == "o":
        return objects[m[1]]
    if kind == "k":
        return lambda *args: back(m[1], args)
    raise TypeError(kind)


def back(number, args):
    send(["call", number, [enc(a) for a in args]])
    return answer()


def answer():
    while True:
        message = receive()
        if message[0] == "value":
            return dec(message[1])
        if message[0] == "raise":
            raise Exception()
        serve(message)


def raised(e):
    send(["raise", [c.__name__ for c in type(e).__mro__ if c.__module__ == "builtins"]])


def serve(message):
    try:
        what = message[0]
        if what == "name":
            known = message[1] in space
            send(["value", enc(space[message[1]])] if known else ["none"])
        elif what == "do":
            args = [dec(a) for a in message[3]]
            keys = {k: dec(a) for k, a in message[4].items()}
            target = objects[message[1]]
            if message[2] == "call":
                value = target(*args, **keys)
            elif message[2] == "next":
                value = [x for _, x in zip(range(args[0]), target)]
            else:
                value = {"get": getattr, "set": setattr, "item": lambda o, k: o[k], "len": len, "str": str, "repr": repr, "iter": iter}[message[2]](target, *args)
            changed = [enc(a) if isinstance(a, (list, dict, set, bytearray)) else None for a in args]
            send(["value", enc(value), changed])
    except BaseException as e:
        raised(e)


space = {"__name__": "__main__", "__builtins__": __builtins__}
sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000))
try:
    exec(compile(setup["program"], "program.py", "exec"), space)
    send(["value", None])
except BaseException as e:
    raised(e)
while True:
    serve(receive())
