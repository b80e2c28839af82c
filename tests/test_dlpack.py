# SPDX-License-Identifier: Apache-2.0
"""The rules for consumers of DLPack, with capsules made by hand."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest

import warpquant
from warpquant import atc, equity, ma
from warpquant.errors import DeviceUnavailableError, DTypeError, LayoutError, ShapeError, WarpquantError

CPU, CUDA, CUDA_HOST, OPENCL, CUDA_MANAGED = 1, 2, 3, 4, 13
INT, UINT, FLOAT, OPAQUE, BFLOAT, COMPLEX, BOOL = range(7)
READ_ONLY = 1


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Legacy(ctypes.Structure):
    _fields_ = (("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


class Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    )


_api = ctypes.pythonapi
_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _DESTRUCTOR)(("PyCapsule_New", _api))
_new_bare = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _api)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", _api))


def _free_unconsumed(capsule):
    """Destructor of a capsule: a tensor that nobody took is freed by its own deleter."""
    for name, kind in ((b"dltensor", Legacy), (b"dltensor_versioned", Versioned)):
        if _is_valid(capsule, name):
            managed = ctypes.cast(_pointer(capsule, name), ctypes.POINTER(kind)).contents
            if managed.deleter:
                managed.deleter(ctypes.addressof(managed))


_free = _DESTRUCTOR(_free_unconsumed)


class Producer:
    """Offers the memory of an array; any field of the tensor may be changed."""

    def __init__(self, values, *, versioned=True, **changes):
        self.array = np.asarray(values)
        self.versioned = versioned
        self.changes = changes
        self.deleted = []
        self.capsules = []
        self.calls = []
        self.held = []  # what the capsules point to

    def _tensor(self):
        a = self.array
        shape = (ctypes.c_int64 * max(a.ndim, 1))(*a.shape)
        strides = (ctypes.c_int64 * max(a.ndim, 1))(*(s // a.itemsize for s in a.strides))
        code = {"f": FLOAT, "i": INT, "u": UINT, "b": BOOL, "c": COMPLEX}[a.dtype.kind]
        fields = dict(
            data=a.ctypes.data if a.size else None, device_type=CPU, device_id=0, ndim=a.ndim, code=code,
            bits=8 * a.itemsize, lanes=1, shape=shape, strides=strides, byte_offset=0,
        )  # fmt: skip
        fields.update({k: v for k, v in self.changes.items() if k in fields})
        for key in ("shape", "strides"):
            if isinstance(fields[key], (tuple, list)):
                fields[key] = (ctypes.c_int64 * len(fields[key]))(*fields[key])
            self.held.append(fields[key])
            fields[key] = ctypes.cast(fields[key], ctypes.POINTER(ctypes.c_int64))
        return DLTensor(**fields)

    def _delete(self, pointer):
        self.deleted.append((pointer, threading.get_ident()))

    def capsule(self):
        deleter = DELETER() if self.changes.get("deleter", True) is None else DELETER(self._delete)
        if self.versioned:
            managed = Versioned(
                major=self.changes.get("major", 1), minor=self.changes.get("minor", 0),
                deleter=deleter, flags=self.changes.get("flags", 0), tensor=self._tensor(),
            )  # fmt: skip
        else:
            managed = Legacy(tensor=self._tensor(), deleter=deleter)
        self.held.append((managed, deleter))
        self.managed = managed
        self.capsule_name = self.changes.get("name", b"dltensor_versioned" if self.versioned else b"dltensor")
        made = _new(ctypes.addressof(managed), self.capsule_name, _free)
        self.capsules.append(made)
        return made

    def __dlpack_device__(self):
        return self.changes.get("device_type", CPU), self.changes.get("device_id", 0)

    def __dlpack__(self, **keywords):
        self.calls.append(keywords)
        return self.capsule()

    def freed_once(self):
        """Whether the deleter ran exactly once for each tensor."""
        self.capsules.clear()
        made = [ctypes.addressof(h[0]) for h in self.held if isinstance(h, tuple)]
        return sorted(p for p, _ in self.deleted) == sorted(made)


X = np.arange(24.0) ** 2
EXPECTED = ma.sma(X, 3)
PANEL = X.reshape(4, 6)
FORMS = pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "legacy"])


@FORMS
class TestAccepted:
    def test_values(self, versioned):
        p = Producer(X, versioned=versioned)
        np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
        assert p.calls == [{"max_version": (1, 3)}]
        assert _name(p.capsules[0]) == (b"used_dltensor_versioned" if versioned else b"used_dltensor")
        assert len(p.deleted) == 1
        assert p.freed_once()

    @pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
    def test_types(self, versioned, dtype):
        x = np.arange(24).astype(dtype)
        p = Producer(x, versioned=versioned)
        result = ma.sma(p, 3)
        assert result.dtype == (np.float32 if dtype == "f4" else np.float64)
        np.testing.assert_array_equal(result, ma.sma(x, 3))
        assert p.freed_once()

    @pytest.mark.parametrize(
        "view", [PANEL, PANEL.T, PANEL[::2, ::3], PANEL[::-1, ::-1], np.broadcast_to(X, (3, 24)), PANEL[:, :0]]
    )
    def test_strides(self, versioned, view):
        p = Producer(view, versioned=versioned)
        np.testing.assert_array_equal(ma.sma(p, 2), ma.sma(view, 2))
        assert p.freed_once()

    def test_no_strides(self, versioned):
        p = Producer(PANEL, versioned=versioned, strides=None)
        np.testing.assert_array_equal(ma.sma(p, 2), ma.sma(PANEL, 2))
        p = Producer(np.arange(6, dtype=np.int16).reshape(2, 3), versioned=versioned, strides=None)
        np.testing.assert_array_equal(ma.sma(p, 2), ma.sma(np.arange(6).reshape(2, 3), 2))

    def test_byte_offset(self, versioned):
        p = Producer(X, versioned=versioned, byte_offset=32, shape=(20,))
        np.testing.assert_array_equal(ma.sma(p, 3), ma.sma(X[4:], 3))

    @pytest.mark.parametrize("offset", [1, 3, 4, 7])
    def test_misaligned(self, versioned, offset):
        memory = np.zeros(8 * 24 + 8, dtype=np.uint8)
        memory[offset : offset + 192] = X.view(np.uint8)
        for x, kind in ((X, np.float64), (X.astype(np.float32), np.float32)):
            memory[offset : offset + x.nbytes] = x.view(np.uint8)
            p = Producer(x, versioned=versioned, data=memory.ctypes.data + offset)
            result = ma.sma(p, 3)
            assert result.dtype == kind
            np.testing.assert_array_equal(result, ma.sma(x, 3))
        out = Producer(X, versioned=versioned, data=memory.ctypes.data + offset)
        ma.sma(X, 3, out=out)
        np.testing.assert_array_equal(memory[offset : offset + 192].view(np.float64), EXPECTED)

    @pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
    def test_nothing(self, versioned, shape):
        p = Producer(np.empty(shape), versioned=versioned)
        assert ma.sma(p, 2).shape == shape
        assert p.freed_once()
        p = Producer(np.empty(shape), versioned=versioned, data=None, byte_offset=64, strides=None)
        assert ma.sma(p, 2).shape == shape

    def test_no_deleter(self, versioned):
        p = Producer(X, versioned=versioned, deleter=None)
        np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
        p = Producer(X, versioned=versioned, deleter=None, bits=16)
        with pytest.raises(DTypeError):
            ma.sma(p, 3)

    def test_every_call_takes_a_new_capsule(self, versioned):
        p = Producer(X, versioned=versioned)
        for _ in range(50):
            ma.sma(p, 3)
        assert p.freed_once()

    def test_pinned_host_memory(self, versioned):
        p = Producer(X, versioned=versioned, device_type=CUDA_HOST)
        np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)

    def test_other_functions(self, versioned):
        p, sign = Producer(X + 1, versioned=versioned), Producer(np.sign(np.sin(X)), versioned=versioned)
        np.testing.assert_array_equal(
            equity.curve(prices=p, signal=sign), equity.curve(prices=X + 1, signal=np.sign(np.sin(X)))
        )
        assert p.freed_once()
        assert sign.freed_once()
        p = Producer(X + 1, versioned=versioned)
        np.testing.assert_array_equal(atc.run(p)["average"], atc.run(X + 1)["average"])
        assert p.freed_once()
        p = Producer(X, versioned=versioned)
        np.testing.assert_array_equal(ma.sma({"a": p, "b": X}, 3)["a"], EXPECTED)
        assert p.freed_once()
        p = Producer([5.0], versioned=versioned)
        assert ma.Stream("sma", 1).update(p) == 5
        assert p.freed_once()


REFUSED = {
    "float16": (dict(bits=16), DTypeError),
    "float128": (dict(bits=128), DTypeError),
    "float of no bits": (dict(bits=0), DTypeError),
    "int128": (dict(code=INT, bits=128), DTypeError),
    "int of 4 bits": (dict(code=INT, bits=4), DTypeError),
    "int of 12 bits": (dict(code=UINT, bits=12), DTypeError),
    "int of no bits": (dict(code=INT, bits=0), DTypeError),
    "opaque": (dict(code=OPAQUE), DTypeError),
    "bfloat16": (dict(code=BFLOAT, bits=16), DTypeError),
    "complex": (dict(code=COMPLEX, bits=128), DTypeError),
    "bool": (dict(code=BOOL, bits=8), DTypeError),
    "unknown type": (dict(code=200), DTypeError),
    "vector": (dict(lanes=4), DTypeError),
    "no lanes": (dict(lanes=0), DTypeError),
    "no data": (dict(data=None), LayoutError),
    "no shape": (dict(shape=None), LayoutError),
    "negative dimension": (dict(shape=(-1,)), ShapeError),
    "no dimensions": (dict(ndim=0), ShapeError),
    "three dimensions": (dict(ndim=3, shape=(2, 3, 4), strides=None), ShapeError),
    "negative ndim": (dict(ndim=-1), ShapeError),
    "nine dimensions": (dict(ndim=9, shape=(1,) * 9, strides=None), ShapeError),
    "huge ndim": (dict(ndim=2**31 - 1), ShapeError),
    "product overflows": (dict(ndim=2, shape=(2**40, 2**40), strides=(0, 0)), ShapeError),
    "bytes overflow": (dict(shape=(2**61,), strides=(0,)), ShapeError),
    "stride overflows": (dict(strides=(2**62,)), ShapeError),
    "reach overflows": (dict(strides=(2**59,)), ShapeError),
    "sum of reaches overflows": (dict(ndim=2, shape=(8, 3), strides=(2**56, 2**58)), ShapeError),
}


@FORMS
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, versioned):
    """A documented error that names the argument, and the deleter runs once."""
    changes, error = REFUSED[name]
    for call, argument in (
        (lambda p: ma.sma(p, 3), "x"),
        (lambda p: atc.run(p), "prices"),
        (lambda p: equity.curve(prices=X, signal=p), "signal"),
        (lambda p: ma.sma(X, 3, out=p), "out"),
        (lambda p: ma.sma({"a": p}, 3), "x: 'a'"),
    ):
        p = Producer(X, versioned=versioned, **changes)
        with pytest.raises(WarpquantError, match=f"^{argument}|the result") as info:
            call(p)
        if argument == "x":
            assert isinstance(info.value, error)
        assert p.freed_once()


@pytest.mark.parametrize("major", [0, 2, 7, 2**32 - 1])
def test_other_major_version(major):
    p = Producer(X, major=major, data=1, ndim=5, shape=None)
    with pytest.raises(BufferError, match=r"^x: .*version"):
        ma.sma(p, 3)
    assert p.freed_once()


@pytest.mark.parametrize("minor", [0, 3, 99])
def test_any_minor_version(minor):
    p = Producer(X, minor=minor, flags=1 << 40)
    np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)


@FORMS
@pytest.mark.parametrize("device", [CUDA, CUDA_MANAGED, OPENCL, 0, 99, -1])
def test_other_devices(device, versioned):
    if device in (CUDA, CUDA_MANAGED) and not warpquant.doctor()["cuda"]["reason"]:
        pytest.skip("a CUDA device answers here, which has no such memory")
    p = Producer(X, versioned=versioned, device_type=device)
    with pytest.raises(DeviceUnavailableError, match=r"^x: lives on") as info:
        ma.sma(p, 3)
    if device in (CUDA, CUDA_MANAGED):
        assert info.value.reason in ("not_built", "no_driver", "no_device", "no_such_device", "driver_error")
    else:
        assert info.value.reason == "unknown_device"
        assert p.freed_once()
    # A producer whose capsule says something else than its method.
    p.__dlpack_device__ = lambda: (CPU, 0)

    class Liar(Producer):
        def __dlpack_device__(self):
            return CPU, 0

    p = Liar(X, versioned=versioned, device_type=device)
    with pytest.raises(DeviceUnavailableError, match=r"^x: lives on"):
        ma.sma(p, 3)
    assert p.freed_once()


@pytest.mark.parametrize("answer", [None, (1,), (1, 0, 0), ("cpu", 0), (2**40, 0), 1, (None, None)])
def test_no_device(answer):
    class Odd(Producer):
        def __dlpack_device__(self):
            return answer

    with pytest.raises(LayoutError, match=r"^x: "):
        ma.sma(Odd(X), 3)


@pytest.mark.parametrize("name", [b"dltensor2", b"", b"used_dltensor", b"used_dltensor_versioned", b"DLTENSOR"])
def test_other_capsule_names(name):
    p = Producer(X, name=name)
    with pytest.raises(LayoutError, match=r"^x: .*dltensor"):
        ma.sma(p, 3)
    assert p.deleted == []


@pytest.mark.parametrize("answer", [None, 1, "dltensor", object(), X])
def test_no_capsule(answer):
    class Odd(Producer):
        def __dlpack__(self, **_):
            return answer

    with pytest.raises(LayoutError, match=r"^x: .*capsule"):
        ma.sma(Odd(X), 3)


def test_capsule_without_a_name():
    class Odd(Producer):
        def __dlpack__(self, **_):
            return _new_bare(16, None, None)

    with pytest.raises(LayoutError, match="capsule"):
        ma.sma(Odd(X), 3)


@FORMS
def test_consumed_twice(versioned):
    class Lazy(Producer):
        made = None

        def __dlpack__(self, **_):
            self.made = self.made or self.capsule()
            return self.made

    p = Lazy(X, versioned=versioned)
    np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
    for _ in range(2):
        with pytest.raises(LayoutError, match="capsule"):
            ma.sma(p, 3)
    p.made = None
    assert p.freed_once()


@FORMS
def test_never_consumed(versioned):
    p = Producer(X, versioned=versioned)
    p.__dlpack__()
    assert p.deleted == []
    assert p.freed_once()


class TestReadOnly:
    def test_as_input(self):
        np.testing.assert_array_equal(ma.sma(Producer(X, flags=READ_ONLY), 3), EXPECTED)

    def test_as_out(self):
        p = Producer(np.zeros(24), flags=READ_ONLY)
        with pytest.raises(LayoutError, match=r"out.*read-only"):
            ma.sma(X, 3, out=p)
        assert not p.array.any()
        assert p.freed_once()

    @FORMS
    def test_writable_out(self, versioned):
        p = Producer(np.zeros(24), versioned=versioned)
        assert ma.sma(X, 3, out=p) is p
        np.testing.assert_array_equal(p.array, EXPECTED)
        assert p.freed_once()

    @FORMS
    def test_errors_after_borrowing(self, versioned):
        """Whatever is wrong with the rest of the call, what was borrowed is given back."""
        x, out = Producer(X, versioned=versioned), Producer(np.zeros(23), versioned=versioned)
        with pytest.raises(ShapeError, match="out"):
            ma.sma(x, 3, out=out)
        with pytest.raises(LayoutError, match="shares memory"):
            ma.sma(x, 3, out=x)
        with pytest.raises(WarpquantError, match="nan"):
            ma.sma(Producer(np.full(9, np.nan)), 3, nan="raise")
        bad = Producer(X, versioned=versioned, bits=16)
        with pytest.raises(DTypeError, match="'b'"):
            ma.sma({"a": x, "b": bad, "c": x}, 3)
        for p in (x, out, bad):
            assert p.freed_once()


class TestProducers:
    def test_old_signature(self):
        class Old(Producer):
            def __dlpack__(self, stream=None):
                self.calls.append(stream)
                return self.capsule()

        p = Old(X, versioned=False)
        np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
        assert p.calls == [None]
        assert p.freed_once()

    @pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, MemoryError, KeyboardInterrupt])
    def test_other_errors_pass(self, error):
        class Raises(Producer):
            def __dlpack__(self, **_):
                raise error("from the producer")

        with pytest.raises(error, match="from the producer"):
            ma.sma(Raises(X), 3)

    @pytest.mark.parametrize("old", [False, True])
    def test_buffer_error(self, old):
        class Raises(Producer):
            if old:

                def __dlpack__(self):
                    raise BufferError("cannot export")
            else:

                def __dlpack__(self, **_):
                    raise BufferError("cannot export")

        with pytest.raises(LayoutError, match=r"^x: .*cannot export"):
            ma.sma(Raises(X), 3)

    def test_type_error_of_its_own(self):
        class Raises(Producer):
            def __dlpack__(self, **keywords):
                self.calls.append(keywords)
                raise TypeError("always")

        p = Raises(X)
        with pytest.raises(TypeError, match="always"):
            ma.sma(p, 3)
        assert p.calls == [{"max_version": (1, 3)}, {}]

    def test_error_of_the_device_method(self):
        class Raises(Producer):
            def __dlpack_device__(self):
                raise RuntimeError("lost")

        with pytest.raises(RuntimeError, match="lost"):
            ma.sma(Raises(X), 3)

    def test_without_device_method(self):
        class Half:
            def __dlpack__(self, **_):
                raise AssertionError("not to be called")

            def __array__(self, dtype=None, copy=None):
                return X

        np.testing.assert_array_equal(ma.sma(Half(), 3), EXPECTED)

    def test_classes_are_no_arrays(self):
        for cls in (Producer, np.ndarray, list):
            with pytest.raises(DTypeError, match=r"^x: "):
                ma.sma(cls, 3)

    def test_references(self):
        p = Producer(X)
        before = sys.getrefcount(p)
        for _ in range(100):
            ma.sma(p, 3)
            with pytest.raises(ShapeError):
                ma.sma(X, 3, out=Producer(PANEL))
        p.capsules.clear()
        p.held.clear()
        p.managed = None
        gc.collect()
        assert sys.getrefcount(p) == before


@FORMS
def test_threads(versioned):
    """Deleters run in the thread that made the call, once each."""
    producers = [Producer(X, versioned=versioned) for _ in range(8)]

    def work(p):
        for _ in range(50):
            np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)

    threads = [threading.Thread(target=work, args=(p,)) for p in producers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for p, t in zip(producers, threads, strict=True):
        assert {ident for _, ident in p.deleted} == {t.ident}
        assert p.freed_once()


def test_a_deleter_that_raises(monkeypatch):
    """An exception inside a deleter is reported by ctypes and does not reach the call."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append(info.exc_type))

    class Raises(Producer):
        def _delete(self, pointer):
            super()._delete(pointer)
            raise ValueError("in the deleter")

    p = Raises(X)
    np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
    with pytest.raises(DTypeError):
        ma.sma(Raises(X, bits=16), 3)
    assert p.freed_once()
    assert seen == [ValueError, ValueError]


# ---------------------------------------------------------------------------------------------- the exchange table


class Exchange(ctypes.Structure):
    pass


_MANAGED_FROM = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(ctypes.c_void_p))
Exchange._fields_ = (
    ("major", ctypes.c_uint32),
    ("minor", ctypes.c_uint32),
    ("previous", ctypes.POINTER(Exchange)),
    ("allocator", ctypes.c_void_p),
    ("managed_from_object", _MANAGED_FROM),
    ("object_from_managed", ctypes.c_void_p),
    ("borrow_from_object", ctypes.c_void_p),
    ("current_work_stream", ctypes.c_void_p),
)


def _managed_from_object(obj, out):
    if obj.fails:
        return -1  # without an exception: ctypes callbacks cannot leave one
    obj.capsule()
    obj.capsules.clear()  # the table hands out the tensor itself, without a capsule
    obj.taken += 1
    out[0] = ctypes.addressof(obj.managed)
    return 0


_from_object = _MANAGED_FROM(_managed_from_object)


def exchange(**changes):
    return Exchange(**{"major": 1, "minor": 3, "managed_from_object": _from_object, **changes})


def tabled(table, name=b"dlpack_exchange_api"):
    class Tabled(Producer):
        __dlpack_c_exchange_api__ = _new_bare(ctypes.addressof(table), name, None)
        fails = False
        taken = 0

    Tabled.table = table
    return Tabled


class TestExchangeTable:
    @pytest.fixture(autouse=True)
    def no_destructor(self, monkeypatch):
        """What the table hands out is not in a capsule, so none may free it."""
        monkeypatch.setattr(sys.modules[__name__], "_new", lambda pointer, name, _: _new_bare(pointer, name, None))

    def test_values(self):
        p = tabled(exchange())(X)
        for i in range(1, 5):
            np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
            assert (p.taken, len(p.deleted), p.calls) == (i, i, [])

    def test_out_and_read_only(self):
        cls = tabled(exchange())
        p = cls(np.zeros(24))
        assert ma.sma(X, 3, out=p) is p
        np.testing.assert_array_equal(p.array, EXPECTED)
        with pytest.raises(LayoutError, match="read-only"):
            ma.sma(X, 3, out=cls(X, flags=READ_ONLY))

    @pytest.mark.parametrize("name", ["float16", "vector", "no data", "negative dimension", "product overflows"])
    def test_refused(self, name):
        changes, error = REFUSED[name]
        p = tabled(exchange())(X, **changes)
        with pytest.raises(error, match=r"^x: "):
            ma.sma(p, 3)
        assert len(p.deleted) == 1

    def test_major_version_of_the_tensor(self):
        p = tabled(exchange())(X, major=2)
        with pytest.raises(BufferError, match="version"):
            ma.sma(p, 3)
        assert len(p.deleted) == 1

    def test_failure_without_an_exception(self):
        p = tabled(exchange())(X)
        p.fails = True
        with pytest.raises(LayoutError, match=r"^x: "):
            ma.sma(p, 3)
        assert p.deleted == []

    def test_success_without_a_tensor(self):
        nothing = _MANAGED_FROM(lambda obj, out: 0)
        with pytest.raises(LayoutError, match=r"^x: "):
            ma.sma(tabled(exchange(managed_from_object=nothing))(X), 3)

    def test_an_older_table_behind_a_newer_one(self):
        old = exchange()
        new = exchange(major=2, previous=ctypes.pointer(old), managed_from_object=_MANAGED_FROM())
        p = tabled(new)(X)
        np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
        assert p.taken == 1

    def test_no_table_of_our_version(self):
        for table, name in (
            (exchange(major=2), b"dlpack_exchange_api"),
            (exchange(managed_from_object=_MANAGED_FROM()), b"dlpack_exchange_api"),
            (exchange(), b"another_api"),
        ):
            p = tabled(table, name)(X)
            np.testing.assert_array_equal(ma.sma(p, 3), EXPECTED)
            assert (p.taken, len(p.calls)) == (0, 1)

    def test_torch(self):
        torch = pytest.importorskip("torch")
        if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
            pytest.skip("this torch has no exchange table")
        np.testing.assert_array_equal(ma.sma(torch.from_numpy(X.copy()), 3).numpy(), EXPECTED)
