"""Calibration: what it measures against plain arithmetic, and what it says of
prompts and texts that cannot do."""

import array
import json
import math
import os
import struct
import unittest

import harness
import tiny

MODEL = tiny.MODEL
HIDDEN, FFN, LAYERS = MODEL["hidden"], MODEL["ffn"], MODEL["layers"]

PROMPTS = """
- name: letters
  positive: ["abc", "hello"]
- name: digits
  positive: "0123456789"
  negative: ["abc"]
- name: marks
  positive: ["?!.,;:", "()[]{}"]
"""


def tensor(name):
    """Rows of one of the model's matrices, or its numbers."""
    shape = tiny.shapes(MODEL)[name]
    numbers = array.array("f")
    numbers.frombytes(tiny.values(name, shape))
    if len(shape) == 1:
        return list(numbers)
    return [list(numbers[i * shape[1]:(i + 1) * shape[1]])
            for i in range(shape[0])]


def read_safetensors(path):
    """Name -> rows or numbers, and the metadata."""
    with open(path, "rb") as file:
        data = file.read()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    result = {}
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        numbers = array.array({"F32": "f", "I64": "q"}[entry["dtype"]])
        numbers.frombytes(data[begin:end])
        shape = entry["shape"]
        result[name] = list(numbers) if len(shape) == 1 else [
            list(numbers[i * shape[1]:(i + 1) * shape[1]])
            for i in range(shape[0])]
    return result, metadata


def normalized(row):
    norm = math.sqrt(sum(x * x for x in row))
    return [x / norm for x in row] if norm else row


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows)]


def minus(a, b):
    return [x - y for x, y in zip(a, b)]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def token_ids(text):
    vocabulary = tiny.tokenizer_json()["model"]["vocab"]
    symbols = tiny.byte_alphabet()
    return [vocabulary[symbols[byte]] for byte in text.encode()]


class Reference:
    """The model without attention, in plain Python: inputs of each FFN and the
    stream before each norm."""

    def __init__(self):
        self.embedding = tensor("model.embed_tokens.weight")
        self.layers = []
        for layer in range(LAYERS):
            prefix = f"model.layers.{layer}."
            self.layers.append([tensor(prefix + name) for name in (
                "post_attention_layernorm.weight", "mlp.gate_proj.weight",
                "mlp.up_proj.weight", "mlp.down_proj.weight")])

    def states(self, text):
        """(stream, FFN inputs): [layer][token]."""
        stream = [list(self.embedding[i]) for i in token_ids(text)]
        before, inputs = [], []
        for norm, gate, up, down in self.layers:
            before.append([list(x) for x in stream])
            normed = []
            for x in stream:
                scale = 1 / math.sqrt(dot(x, x) / HIDDEN + 1e-5)
                normed.append([v * scale * w for v, w in zip(x, norm)])
            inputs.append(normed)
            for x, out in zip(normed, stream):
                h = self.hidden(x, gate, up)
                for i in range(HIDDEN):
                    out[i] += dot(down[i], h)
        return before, inputs

    @staticmethod
    def hidden(x, gate, up):
        result = []
        for g, u in zip(gate, up):
            z = dot(g, x)
            result.append(z / (1 + math.exp(-z)) * dot(u, x))
        return result


class Calibrate(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.out = self.path("out.moe")
        self.file = self.path("out.calibration.safetensors")

    def without_attention(self):
        """Zeros in the place of every output projection."""
        path = os.path.join(self.model, "model.safetensors")
        with open(path, "r+b") as file:
            size, = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
            for name, entry in header.items():
                if name.endswith("o_proj.weight"):
                    begin, end = entry["data_offsets"]
                    file.seek(8 + size + begin)
                    file.write(bytes(end - begin))

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def upcycle(self, recipe, *arguments):
        return ["upcycle", self.model, "-o", self.out, "--recipe", recipe,
                *arguments]

    def calibrate(self, recipe, *arguments):
        self.succeeds(*self.upcycle(recipe, *arguments))
        return read_safetensors(self.file)

    def prompts(self, *arguments, text=PROMPTS):
        return self.calibrate("mergekit", "--prompts",
                              self.write("p.yaml", text), *arguments)

    def assert_rows(self, found, expected, tolerance=2e-5):
        self.assertEqual(len(found), len(expected))
        for row, reference in zip(found, expected):
            for x, y in zip(row, reference):
                self.assertAlmostEqual(x, y, delta=tolerance)

    def gates(self, states, layer):
        def at(text):
            return mean(states(text)[layer])
        return [normalized(row) for row in (
            mean([at("abc"), at("hello")]),
            minus(at("0123456789"), at("abc")),
            mean([at("?!.,;:"), at("()[]{}")]))]

    def test_embeddings_of_prompts(self):
        found, metadata = self.prompts("--set", "calibration.state=embedding")
        reference = Reference()
        rows = self.gates(
            lambda t: [[reference.embedding[i] for i in token_ids(t)]], 0)
        for layer in range(LAYERS):
            self.assert_rows(found[f"layers.{layer}.router"], rows)
        self.assertIn("variant", metadata)

    def test_states_of_prompts(self):
        self.without_attention()
        reference = Reference()
        for which, state in enumerate(("residual", "ffn_input")):
            with self.subTest(state):
                found, _ = self.prompts("--set", f"calibration.state={state}")
                for layer in range(LAYERS):
                    rows = self.gates(
                        lambda t: reference.states(t)[which], layer)
                    self.assert_rows(found[f"layers.{layer}.router"], rows)

    def test_last_token_and_norm(self):
        found, _ = self.prompts("--set", "calibration.state=embedding",
                                "--set", "calibration.token=last", "--set",
                                "calibration.norm=3")
        embedding = Reference().embedding
        last = embedding[token_ids("0123456789")[-1]]
        other = embedding[token_ids("abc")[-1]]
        expected = [3 * x for x in normalized(minus(last, other))]
        self.assert_rows([found["layers.0.router"][1]], [expected], 1e-4)

    def test_the_module_reads_the_file(self):
        self.prompts()
        self.assertIn("calibration", self.succeeds("dump", self.out))
        self.succeeds("eval", self.out, "--ids", "1,5,9", "--logits",
                      self.path("l.npy"))
        folder = self.path("folder")
        self.succeeds("upcycle", self.model, "-o", folder, "--recipe",
                      "mergekit")
        self.assertTrue(os.path.exists(self.path(
            "folder.calibration.safetensors")))

    def test_a_changed_file_is_noticed(self):
        self.prompts()
        with open(self.file, "ab") as file:
            file.write(b"x" * 8)
        result = self.run_moec("eval", self.out, "--ids", "1,5", "--logits",
                               self.path("l.npy"))
        self.assertEqual(result.returncode, 1)

    def test_clusters_of_neurons(self):
        found, _ = self.calibrate("moefication", "--set", "N=8")
        for layer in range(LAYERS):
            order = found[f"layers.{layer}.order"]
            self.assertEqual(sorted(order), list(range(FFN)))
            gate = [normalized(row) for row in
                    tensor(f"model.layers.{layer}.mlp.gate_proj.weight")]
            width = FFN // 8
            groups = [order[i:i + width] for i in range(0, FFN, width)]
            rows = [normalized(mean([gate[j] for j in group]))
                    for group in groups]
            self.assert_rows(found[f"layers.{layer}.router"], rows)
            # Neurons are nearer to their own centroid than chance has it.
            means = [mean([gate[j] for j in group]) for group in groups]
            own = sum(dot(gate[j], means[e])
                      for e, group in enumerate(groups) for j in group)
            chance = sum(dot(gate[j], m) for j in range(FFN)
                         for m in means) / 8
            self.assertGreater(own, chance + 1)

    def test_importance(self):
        self.without_attention()
        text = "The quick brown fox jumps over the lazy dog."
        path = self.write("t.txt", text)
        for importance in ("hidden", "output"):
            with self.subTest(importance):
                found, metadata = self.calibrate(
                    "llama-moe-shared", "--calibration-text", path, "--set",
                    f"calibration.importance={importance}")
                self.assertEqual(metadata["tokens"], str(len(text)))
                reference = Reference()
                _, inputs = reference.states(text)
                for layer in range(LAYERS):
                    _, gate, up, down = reference.layers[layer]
                    scores = [0.0] * FFN
                    for x in inputs[layer]:
                        for j, h in enumerate(reference.hidden(x, gate, up)):
                            scores[j] += abs(h)
                    if importance == "output":
                        for j in range(FFN):
                            column = [row[j] for row in down]
                            scores[j] *= math.sqrt(dot(column, column))
                    order = found[f"layers.{layer}.order"]
                    self.assertEqual(sorted(order), list(range(FFN)))
                    for a, b in zip(order, order[1:]):
                        self.assertGreaterEqual(scores[a],
                                                scores[b] * (1 - 1e-4))

    def test_coactivation_and_activations(self):
        text = self.write("t.txt", "Once upon a time there was a fox. " * 8)
        found, _ = self.calibrate(
            "moefication", "--set", "calibration.order=coactivation", "--set",
            "calibration.router=activations", "--calibration-text", text)
        for layer in range(LAYERS):
            self.assertEqual(sorted(found[f"layers.{layer}.order"]),
                             list(range(FFN)))
            rows = found[f"layers.{layer}.router"]
            self.assertEqual(len(rows), 16)
            for row in rows:
                self.assertAlmostEqual(dot(row, row), 1, delta=1e-4)

    def test_fitted_selectors_find_the_active_experts(self):
        self.without_attention()
        text = ("The quick brown fox jumps over the lazy dog. 0123456789 "
                "Pack my box with five dozen liquor jugs; how vexing!")[:120]
        path = self.write("t.txt", text)
        experts, k = 8, 2
        sizes = ["--set", f"N={experts}", "--set", f"K={k}",
                 "--calibration-text", path]
        learned, _ = self.calibrate("moefication-learned", *sizes)
        plain, _ = self.calibrate(
            "moefication", *sizes, "--set", "calibration.order=coactivation")
        reference = Reference()
        # Texts longer than the context are run in pieces, which without
        # attention are one.
        _, inputs = reference.states(text)
        caught = {"learned": 0.0, "plain": 0.0, "best": 0.0}
        width = FFN // experts
        for layer in range(LAYERS):
            _, gate, up, _ = reference.layers[layer]
            order = learned[f"layers.{layer}.order"]
            self.assertEqual(order, plain[f"layers.{layer}.order"])
            first = learned[f"layers.{layer}.router.first"]
            last = learned[f"layers.{layer}.router"]
            self.assertEqual((len(first), len(first[0])), (experts, HIDDEN))
            self.assertEqual((len(last), len(last[0])), (experts, experts))
            rows = plain[f"layers.{layer}.router"]
            for x in inputs[layer]:
                h = reference.hidden(x, gate, up)
                active = [sum(abs(h[j]) for j in order[e * width:][:width])
                          for e in range(experts)]
                hidden = [math.tanh(dot(row, x)) for row in first]
                for name, logits in (
                        ("learned", [dot(row, hidden) for row in last]),
                        ("plain", [dot(row, x) for row in rows]),
                        ("best", active)):
                    best = sorted(range(experts), key=lambda e: -logits[e])[:k]
                    caught[name] += sum(active[e] for e in best)
        self.assertGreater(caught["learned"], 0.9 * caught["best"])
        self.assertGreater(caught["learned"], 1.1 * caught["plain"])

    def test_fitted_selectors_run_and_repeat(self):
        text = self.write("t.txt", "Once upon a time there was a fox. " * 8)
        command = self.upcycle("moefication-learned", "--calibration-text",
                               text)
        digests = []
        for threads in (1, 2):
            self.succeeds(*command, "--threads", threads)
            with open(self.file, "rb") as file:
                digests.append(file.read())
            self.succeeds("eval", self.out, "--ids", "1,5,9", "--logits",
                          self.path("l.npy"))
        self.assertEqual(digests[0], digests[1])
        router = self.json("inspect", self.out)["layer_list"][0]["router"]
        self.assertEqual(router, "tanh-softmax-topk")
        # No other program has such routers.
        result = self.run_moec("export", self.out, "-o", self.path("hf"),
                               "--format", "hf")
        self.assertEqual(result.returncode, 1)
        self.assertIn("a router of two layers", result.stderr)

    def test_forms_and_selectors_want_each_other(self):
        text = self.write("t.txt", "Once upon a time there was a fox. " * 8)
        given = ["--calibration-text", text]
        for recipe, parts, *more in (
                ("moefication-learned", ("router_form=tanh", "selector"),
                 "--set", "router_form=linear"),
                ("moefication", ("router_form=tanh", "selector"), "--set",
                 "router_form=tanh"),
                ("mergekit", ("init=split",), "--set",
                 "calibration.router=selector")):
            with self.subTest(recipe):
                result = self.run_moec(*self.upcycle(recipe, *given, *more))
                self.assertEqual(result.returncode, 1)
                for part in parts:
                    self.assertIn(part, result.stderr)

    def test_threads_and_seeds(self):
        text = self.write("t.txt", "Once upon a time there was a fox. " * 8)
        command = ["--set", "calibration.order=coactivation", "--set",
                   "calibration.router=activations", "--calibration-text",
                   text]
        digests = []
        for more in (["--threads", 1], ["--threads", 3], ["--seed", 9]):
            self.succeeds(*self.upcycle("moefication", *command, *more))
            found, _ = read_safetensors(self.file)
            digests.append(json.dumps(found))
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])

    def test_virtual_groups_repeat_rows(self):
        found, _ = self.prompts("--init", "virtual-group", "--granularity", 2,
                                "--experts", 6, "--top-k", 2)
        rows = found["layers.0.router"]
        self.assertEqual(len(rows), 6)
        for group in range(3):
            self.assertEqual(rows[2 * group], rows[2 * group + 1])
        self.assertNotEqual(rows[0], rows[2])

    def test_equal_centroids(self):
        text = PROMPTS.replace('"0123456789"', '["hello", "abc"]').replace(
            '  negative: ["abc"]\n', "")
        result = self.run_moec(*self.upcycle(
            "mergekit", "--prompts", self.write("p.yaml", text)))
        self.assertEqual(result.returncode, 0, result.stderr)
        for part in ("'letters'", "'digits'", "equal centroids",
                     "2 of 2 layers"):
            self.assertIn(part, result.stderr)
        self.assertNotIn("'marks'", result.stderr)

    def test_zero_rows(self):
        text = PROMPTS.replace('"0123456789"', '"abc"')
        result = self.run_moec(*self.upcycle(
            "mergekit", "--prompts", self.write("p.yaml", text)))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("'digits' is zero", result.stderr)

    def test_bad_prompts(self):
        path = self.path("p.yaml")
        for text, place, *parts in (
                ("- positive: [a]\n- negative: [b]\n", ":2:3",
                 "no positive"),
                ("- positve: [a]\n", ":1:3", "'positive'"),
                ("- positive: {a: b}\n", ":1:14", "a list of texts"),
                ("- just text\n", ":1:3", "'just text'"),
                ("positive: a\n", "", "a list"),
                ("- positive: ['']\n- positive: [b]\n", ":1:3",
                 "no tokens")):
            with self.subTest(text):
                self.write("p.yaml", text)
                self.fails(self.upcycle("mergekit", "--prompts", path),
                           *parts, place=path + place)

    def test_numbers_that_do_not_fit(self):
        path = self.write("p.yaml", PROMPTS)
        self.fails(self.upcycle("mergekit", "--prompts", path, "--experts", 4),
                   "3 experts", "4")
        self.fails(self.upcycle("llama-moe-shared"), "--calibration-text")
        short = self.write("t.txt", "abc")
        self.fails(self.upcycle("moefication", "--set",
                                "calibration.router=activations",
                                "--calibration-text", short), "3 tokens",
                   "16")
        self.fails(self.upcycle("moefication", "--set", "N=7", "--set",
                                "K=2"), "64", "7")
        self.assertEqual(self.left_over(), [])

    def test_no_tokenizer(self):
        os.remove(os.path.join(self.model, "tokenizer.json"))
        self.fails(self.upcycle("mergekit"), "tokenizer")


if __name__ == "__main__":
    unittest.main()
