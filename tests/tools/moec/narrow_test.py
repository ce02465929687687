"""Files in f32 whose numbers are those of a narrower type, as where a checkpoint
was widened once: matrices are kept in that type, and no bit of an answer
changes."""

import array
import os
import re
import struct
import unittest

import harness
import tiny

IDS = "5,17,200,42,5,99,7"


def to_bf16(numbers):
    """The nearest towards zero."""
    bits = array.array("I", numbers)
    for i, word in enumerate(bits):
        bits[i] = word & 0xffff0000
    return bits.tobytes()


def to_f16(numbers):
    count = len(numbers) // 4
    floats = struct.unpack(f"<{count}f", numbers)
    return struct.pack(f"<{count}f", *struct.unpack(
        f"<{count}e", struct.pack(f"<{count}e", *floats)))


class Narrow(harness.MoecTest):
    def model(self, name, rounded, odd=None):
        """A folder in F32 of rounded numbers; those of the tensor `odd` end
        with one that is not."""
        folder = tiny.write_hf(self.path(name))
        table = tiny.shapes(tiny.MODEL)
        header, _ = tiny.safetensors_header(table)
        data = []
        for tensor, shape in table.items():
            numbers = bytearray(rounded(tiny.values(tensor, shape)))
            if tensor == odd:
                numbers[-4:] = struct.pack("<f", 1 / 3)
            data.append(numbers)
        tiny.write_safetensors(os.path.join(folder, "model.safetensors"),
                               header, data)
        return folder

    def elements(self, model):
        """Of the matrices in a plan, by the names of their weights."""
        plan = self.path("p.moep")
        self.succeeds("compile", model, "-o", plan, "--target", "native")
        text = self.succeeds("dump", "--full", plan)
        return dict(re.findall(
            r"weight @(\S+) : tensor<\[\d+, \d+\], (\w+)>", text))

    def logits(self, model, *flags):
        out = self.path("logits.npy")
        self.succeeds("eval", model, "--ids", IDS, "--logits", out, *flags)
        with open(out, "rb") as file:
            return file.read()

    def test_bf16(self):
        model = self.model("bf16", to_bf16)
        elements = self.elements(model)
        self.assertGreater(len(elements), 0)
        self.assertEqual(set(elements.values()), {"bf16"})
        stored = self.path("stored")
        self.succeeds("export", model, "-o", stored, "--dtype", "bf16")
        wanted = self.logits(stored, "--dtype", "f32")
        self.assertEqual(self.logits(model), wanted)
        self.assertEqual(self.logits(self.path("p.moep")), wanted)
        for flags in (["--pack=none"], ["--pack=all"]):
            plan = self.path("q.moep")
            self.succeeds("compile", model, "-o", plan, *flags)
            self.assertEqual(self.logits(plan, "--verify"), wanted)

    def test_f16(self):
        model = self.model("f16", to_f16)
        self.assertEqual(set(self.elements(model).values()), {"f16"})
        stored = self.path("stored")
        self.succeeds("export", model, "-o", stored, "--dtype", "f16")
        self.assertEqual(self.logits(model),
                         self.logits(stored, "--dtype", "f32"))

    def test_wide(self):
        elements = self.elements(tiny.write_hf(self.path("wide")))
        self.assertEqual(set(elements.values()), {"f32"})

    def test_one_wide_number(self):
        odd = "model.layers.1.mlp.down_proj.weight"
        elements = self.elements(self.model("odd", to_bf16, odd))
        wide = [name for name, element in elements.items() if element == "f32"]
        self.assertEqual(len(wide), 1, elements)
        self.assertIn("down", wide[0])
        self.assertIn("1", wide[0])

    def test_copied_experts(self):
        model, sparse = self.model("bf16", to_bf16), self.path("s.moe")
        self.succeeds("upcycle", model, "-o", sparse, "--init", "copy",
                      "--experts", 3, "--top-k", 2, "--probe", "")
        plan = self.path("s.moep")
        self.succeeds("compile", sparse, "-o", plan)
        text = self.succeeds("dump", "--full", plan)
        self.assertRegex(text, r"tensor<\[3, \d+, \d+\], bf16>")
        self.assertNotRegex(text, r"tensor<\[3, \d+, \d+\], f32>")


if __name__ == "__main__":
    unittest.main()
