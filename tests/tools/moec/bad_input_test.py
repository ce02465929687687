"""Input that is damaged, hostile or asks for the impossible: one error, at its
place, that says what was expected and what was found; exit code 1."""
# Long because: one short test a kind of damage, in one place to see what lacks.

import json
import os
import struct
import unittest

import harness
import tiny


def cut(path, size):
    os.truncate(path, size)
    return path


def patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


class Safetensors(harness.MoecTest):
    def model(self, **options):
        return tiny.write_hf(self.path("model"), **options)

    def tensors(self):
        return self.path("model", "model.safetensors")

    def rewrite(self, change):
        """Writes the container again with another header."""
        header, size = tiny.safetensors_header(tiny.shapes(tiny.MODEL))
        change(header)
        tiny.write_safetensors(self.tensors(), header, [bytes(size)])

    def rejects(self, *expected):
        self.fails(["inspect", self.path("model")], *expected,
                   place=self.tensors())

    def test_truncated_data(self):
        self.model()
        cut(self.tensors(), os.path.getsize(self.tensors()) - 100)
        self.rejects("bytes")

    def test_truncated_header(self):
        self.model()
        cut(self.tensors(), 200)
        self.rejects("header")

    def test_empty(self):
        self.model()
        cut(self.tensors(), 0)
        self.rejects("empty")

    def test_longer_than_its_tensors(self):
        self.model()
        with open(self.tensors(), "ab") as file:
            file.write(bytes(64))
        self.rejects("bytes")

    def test_header_longer_than_the_file(self):
        self.model()
        patch(self.tensors(), 0, struct.pack("<Q", 2 ** 62))
        self.rejects("header")

    def test_overlapping_tensors(self):
        self.model()

        def overlap(header):
            names = list(header)
            header[names[1]]["data_offsets"] = [0, 128]
        self.rewrite(overlap)
        self.rejects(".")

    def test_shape_whose_product_overflows(self):
        self.model()

        def grow(header):
            next(iter(header.values()))["shape"] = [2 ** 33, 2 ** 33]
        self.rewrite(grow)
        self.rejects("model.embed_tokens.weight")

    def test_negative_extent(self):
        self.model()

        def negate(header):
            next(iter(header.values()))["shape"] = [-1, 32]
        self.rewrite(negate)
        self.rejects("-1")

    def test_unknown_type(self):
        self.model()

        def rename(header):
            next(iter(header.values()))["dtype"] = "Q3_Z"
        self.rewrite(rename)
        self.rejects("Q3_Z")

    def test_header_is_no_json(self):
        self.model()
        patch(self.tensors(), 8, b"}")
        self.rejects(".")

    def test_missing_tensor(self):
        self.model(tensors=lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))
        self.fails(["inspect", self.path("model")],
                   "model.layers.1.mlp.up_proj.weight")

    def test_tensor_of_another_shape(self):
        def change(table):
            table["model.layers.0.self_attn.q_proj.weight"] = [32, 16]
        self.model(tensors=change)
        self.fails(["inspect", self.path("model")], "q_proj", "32", "16")

    def test_head_missing_without_tie(self):
        self.model(tensors=lambda t: t.pop("lm_head.weight"))
        self.fails(["inspect", self.path("model")], "lm_head.weight",
                   place=self.path("model", "config.json"))

    def test_head_stored_and_tied(self):
        """Which of the two is meant nobody can say."""
        self.model(change=lambda c: c.update(tie_word_embeddings=True))
        self.fails(["inspect", self.path("model")], "lm_head.weight",
                   "model.embed_tokens.weight", "both stored and differ",
                   place=self.path("model", "config.json"))


class Shards(harness.MoecTest):
    """model.safetensors.index.json and the files that it names."""

    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        os.remove(self.path("model", "model.safetensors"))
        table = tiny.shapes(tiny.MODEL)
        names = list(table)
        self.where = {}
        for number, part in enumerate((names[:9], names[9:]), 1):
            file = f"model-{number}-of-2.safetensors"
            header, _ = tiny.safetensors_header({n: table[n] for n in part})
            tiny.write_safetensors(self.path("model", file), header,
                                   (tiny.values(n, table[n]) for n in part))
            self.where.update({n: file for n in part})
        self.index = self.path("model", "model.safetensors.index.json")
        self.write(self.where)

    def write(self, where):
        with open(self.index, "w") as file:
            json.dump({"metadata": {}, "weight_map": where}, file, indent=1)

    def rejects(self, *expected, place=None):
        self.fails(["inspect", self.model], *expected,
                   place=place or self.index)

    def test_whole(self):
        self.succeeds("inspect", self.model)

    def test_shard_that_is_missing(self):
        gone = self.path("model", "model-2-of-2.safetensors")
        os.remove(gone)
        self.rejects("No such file", place=gone)

    def test_shard_that_is_cut_off(self):
        short = self.path("model", "model-1-of-2.safetensors")
        cut(short, os.path.getsize(short) - 1)
        self.rejects("bytes", place=short)

    def test_tensor_in_the_other_shard(self):
        name = "model.norm.weight"
        self.where[name] = "model-1-of-2.safetensors"
        self.write(self.where)
        self.rejects(name, "model-1-of-2.safetensors")

    def test_shard_outside_the_folder(self):
        for name in ("../model-1-of-2.safetensors", "/dev/zero", "", "."):
            with self.subTest(name):
                self.write({**self.where, "model.norm.weight": name})
                self.rejects(f"'{name}'")

    def test_damaged_index(self):
        with open(self.index) as file:
            whole = file.read()
        for text in ("", "{", "[]", "{}", '{"weight_map": []}',
                     '{"weight_map": {"a": 1}}', whole[:-9], whole + "}"):
            with self.subTest(text[:30]):
                with open(self.index, "w") as file:
                    file.write(text)
                self.rejects(".")


class HuggingFaceConfig(harness.MoecTest):
    def rejects(self, change, *expected):
        folder = tiny.write_hf(self.path("model"), change=change)
        self.fails(["inspect", folder], *expected,
                   place=os.path.join(folder, "config.json"))

    def test_unknown_key_that_changes_results(self):
        self.rejects(lambda c: c.update(final_logit_softcapping=30.0),
                     "final_logit_softcapping", "30")

    def test_settings_of_other_families(self):
        for key, value in (("partial_rotary_factor", 0.5), ("qk_norm", True),
                           ("sliding_window", 8), ("logit_scale", 0.5),
                           ("residual_multiplier", 0.22), ("alibi", True),
                           ("attention_multiplier", 0.1),
                           ("lm_head_bias", True), ("key_multiplier", 0.5),
                           ("layer_types", ["sliding_attention"] * 2),
                           ("rope_interleaved", True)):
            with self.subTest(key):
                self.rejects(lambda c: c.update({key: value}),
                             "full_attention" if key == "layer_types"
                             else "sliding window" if key == "sliding_window"
                             else key)

    def test_biases_that_no_file_has(self):
        for key, name in (("attention_bias", "q_proj.bias"),
                          ("mlp_bias", "gate_proj.bias")):
            with self.subTest(key):
                folder = tiny.write_hf(self.path("model"), change=lambda c:
                                       c.update({key: True}))
                self.fails(["inspect", folder], name, place=folder)

    def test_unknown_model_type(self):
        self.rejects(lambda c: c.update(model_type="mystery"), "mystery")

    def test_unknown_activation(self):
        self.rejects(lambda c: c.update(hidden_act="gelu_python_x"),
                     "gelu_python_x")

    def test_unknown_rope_scaling(self):
        self.rejects(lambda c: c.update(rope_scaling={"type": "mystery",
                                                      "factor": 2.0}),
                     "mystery")

    def test_quantised_weights(self):
        self.rejects(lambda c: c.update(quantization_config={
            "quant_method": "gptq"}), "quantization_config")

    def test_heads_that_do_not_divide(self):
        self.rejects(lambda c: c.update(num_key_value_heads=3), "3")

    def test_negative_layers(self):
        self.rejects(lambda c: c.update(num_hidden_layers=-1), "-1")

    def test_huge_sizes(self):
        self.rejects(lambda c: c.update(hidden_size=2 ** 62), str(2 ** 62))

    def test_missing_key(self):
        self.rejects(lambda c: c.pop("hidden_size"), "hidden_size")

    def test_more_experts_a_token_than_experts(self):
        def change(settings):
            settings.update(model_type="mixtral", num_local_experts=8,
                            num_experts_per_tok=9,
                            architectures=["MixtralForCausalLM"])
        self.rejects(change, "9", "8")

    def test_broken_json(self):
        folder = tiny.write_hf(self.path("model"))
        config = os.path.join(folder, "config.json")
        cut(config, 40)
        self.fails(["inspect", folder], place=config)

    def test_no_config(self):
        folder = tiny.write_hf(self.path("model"))
        os.remove(os.path.join(folder, "config.json"))
        self.fails(["inspect", folder], "config.json")


class Gguf(harness.MoecTest):
    def write(self, **options):
        return tiny.write_gguf(self.path("model.gguf"), **options)

    def rejects(self, *expected):
        self.fails(["inspect", self.path("model.gguf")], *expected,
                   place=self.path("model.gguf"))

    def test_every_truncation_of_the_head(self):
        path = self.write()
        with open(path, "rb") as file:
            whole = file.read()
        for size in list(range(4, 64, 7)) + [200, 4096]:
            with self.subTest(size=size):
                with open(path, "wb") as file:
                    file.write(whole[:size])
                self.rejects(".")

    def test_truncated_data(self):
        path = self.write()
        cut(path, os.path.getsize(path) - 4096)
        self.rejects("bytes")

    def test_newer_version(self):
        patch(self.write(), 4, struct.pack("<I", 9))
        self.rejects("9")

    def test_tensor_count_beyond_the_file(self):
        patch(self.write(), 8, struct.pack("<Q", 2 ** 61))
        self.rejects(str(2 ** 61))

    def test_metadata_count_beyond_the_file(self):
        patch(self.write(), 16, struct.pack("<Q", 2 ** 61))
        self.rejects(str(2 ** 61))

    def test_unknown_quantisation(self):
        def change(entry):
            if entry[0] == "blk.0.attn_q.weight":
                entry[2] = 77
        self.write(record=change)
        self.rejects("blk.0.attn_q.weight", "77")

    def test_tensor_outside_the_file(self):
        def change(entry):
            if entry[0] == "output.weight":
                entry[3] = 2 ** 40
        self.write(record=change)
        self.rejects("output.weight")

    def test_overlapping_tensors(self):
        def change(entry):
            if entry[0] == "blk.0.attn_q.weight":
                entry[3] = 0
        self.write(record=change)
        self.rejects("blk.0.attn_q.weight")

    def test_shape_whose_product_overflows(self):
        def change(entry):
            if entry[0] == "token_embd.weight":
                entry[1] = [2 ** 33, 2 ** 33]
        self.write(record=change)
        self.rejects("token_embd.weight")

    def test_missing_tensor(self):
        def change(entry):
            if entry[0] == "blk.1.ffn_up.weight":
                entry[0] = "blk.1.other.weight"
        self.write(record=change)
        self.fails(["inspect", self.path("model.gguf")],
                   "blk.1.ffn_up.weight")

    def test_unknown_architecture(self):
        self.write(change=lambda m: m.update({
            "general.architecture": "mystery"}))
        self.rejects("mystery")

    def test_vocabulary_of_another_size(self):
        def change(metadata):
            del metadata["tokenizer.ggml.scores"][-1]
        self.write(change=change)
        self.fails(["tokenize", self.path("model.gguf"), "--text", "a"],
                   "scores", "300", "299")


class Llama2c(harness.MoecTest):
    def write(self):
        tiny.write_llama2c_tokenizer(self.path("tok.bin"), 300)
        return tiny.write_llama2c(self.path("model.bin"))

    def rejects(self, *expected):
        self.fails(["inspect", self.path("model.bin"), "--tokenizer",
                    self.path("tok.bin")], *expected,
                   place=self.path("model.bin"))

    def test_truncated(self):
        path = self.write()
        cut(path, os.path.getsize(path) - 4)
        self.rejects("bytes")

    def test_longer_than_its_header_says(self):
        with open(self.write(), "ab") as file:
            file.write(bytes(4))
        self.rejects("bytes")

    def test_hostile_header(self):
        patch(self.write(), 0, struct.pack("<7i", *[2 ** 31 - 1] * 7))
        self.rejects(".")

    def test_zero_heads(self):
        patch(self.write(), 12, struct.pack("<i", 0))
        self.rejects(".")

    def test_truncated_tokenizer(self):
        self.write()
        cut(self.path("tok.bin"), 1000)
        self.fails(["inspect", self.path("model.bin"), "--tokenizer",
                    self.path("tok.bin")], place=self.path("tok.bin"))

    def test_tokenizer_that_is_missing(self):
        self.write()
        self.fails(["inspect", self.path("model.bin"), "--tokenizer",
                    self.path("none.bin")], "none.bin")


class Tokenizers(harness.MoecTest):
    def rejects(self, text, *expected):
        path = self.path("tokenizer.json")
        with open(path, "w") as file:
            file.write(text)
        self.fails(["tokenize", path, "--text", "a"], *expected, place=path)

    def edited(self, change):
        document = tiny.tokenizer_json()
        change(document)
        return json.dumps(document)

    def test_truncated(self):
        self.rejects(json.dumps(tiny.tokenizer_json())[:900])

    def test_nested_deeply(self):
        self.rejects("[" * 100000)

    def test_unknown_model(self):
        self.rejects(self.edited(lambda d: d["model"].update(type="Mystery")),
                     "Mystery")

    def test_unknown_normalizer(self):
        self.rejects(self.edited(lambda d: d.update(
            normalizer={"type": "Mystery"})), "Mystery")

    def test_huge_id(self):
        self.rejects(self.edited(lambda d: d["model"]["vocab"].update(
            z=2 ** 31 - 2)), str(2 ** 31 - 2))

    def test_merge_of_unknown_pieces(self):
        self.rejects(self.edited(lambda d: d["model"].update(
            merges=["nowhere found"])), "nowhere")

    def test_bad_expression(self):
        split = {"type": "Split", "pattern": {"Regex": "(((("},
                 "behavior": "Isolated", "invert": False}
        level = tiny.tokenizer_json()["pre_tokenizer"]
        both = {"type": "Sequence", "pretokenizers": [split, level]}
        self.rejects(self.edited(lambda d: d.update(pre_tokenizer=both)),
                     "((((")

    def test_sentencepiece_of_noise(self):
        path = self.path("tokenizer.model")
        with open(path, "wb") as file:
            file.write(b"\x0a\xff\xff\xff\xff\x0f" + bytes(range(256)))
        self.fails(["tokenize", path, "--text", "a"], place=path)


class IrText(harness.MoecTest):
    def rejects(self, text, *expected):
        path = self.path("input.moe")
        with open(path, "wb") as file:
            file.write(text)
        self.fails(["opt", path], *expected, place=path)
        self.fails(["inspect", path], *expected, place=path)

    def test_noise(self):
        self.rejects(bytes(range(1, 256)))

    def test_empty(self):
        self.rejects(b"")

    def test_unfinished_module(self):
        model = tiny.write_hf(self.path("model"))
        self.succeeds("import", model, "-o", self.path("whole.moe"), "--text")
        with open(self.path("whole.moe"), "rb") as file:
            text = file.read()
        for share in (0.1, 0.5, 0.9):
            with self.subTest(share=share):
                self.rejects(text[:int(len(text) * share)])

    def test_damaged_binary_form(self):
        model = tiny.write_hf(self.path("model"))
        self.succeeds("import", model, "-o", self.path("whole.moe"))
        with open(self.path("whole.moe"), "rb") as file:
            form = file.read()
        for size in (8, 100, len(form) // 2, len(form) - 64):
            with self.subTest(size=size):
                self.rejects(form[:size])

    def test_nested_deeply(self):
        self.rejects(b"module @m {\n" + b"(" * 100000)

    def test_shape_whose_product_overflows(self):
        kind = b"tensor<[9223372036854775807, 9223372036854775807], f32>"
        self.rejects(b"module @m {\n  program @p(%x: " + kind
                     + b") -> (y: " + kind + b") {\n    return %x\n  }\n}\n",
                     ":2:18:", "larger than")

    def test_other_kinds_of_files(self):
        model = tiny.write_hf(self.path("model"))
        gguf = tiny.write_gguf(self.path("m.gguf"))
        plan = self.path("p.moep")
        self.succeeds("compile", model, "-o", plan, "--target", "cpu-generic")
        for path, kind in ((plan, "a plan"), (gguf, "another kind"),
                           (os.path.join(model, "model.safetensors"),
                            "another kind")):
            with self.subTest(path):
                for command in (["opt", path], ["emit", "--op", path]):
                    self.fails(command, "expected a module", kind, place=path)

    def test_names_that_speak_to_the_terminal(self):
        gguf = tiny.write_gguf(self.path("m.gguf"), change=lambda m: m.update(
            {"general.name": "\x1b[2J", "llama.\x1b]0;x": 1}))
        result = self.run_moec("inspect", gguf)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("\\x1B", result.stderr)
        self.assertNotIn("\x1b", result.stderr + result.stdout.decode())


class Plans(harness.MoecTest):
    def plan(self):
        model = tiny.write_hf(self.path("model"))
        path = self.path("plan.moep")
        self.succeeds("compile", model, "-o", path, "--pack=none",
                      "--target", "cpu-generic")
        return path

    def rejects(self, *expected):
        self.fails(["generate", self.path("plan.moep"), "--prompt", "a"],
                   *expected, place=self.path("plan.moep"))

    def test_newer_major_version(self):
        path = self.plan()
        with open(path, "rb") as file:
            data = file.read()
        field = tiny.plan_place(data, 0)
        self.assertEqual(struct.unpack_from("<H", data, field)[0], 1)
        patch(path, field, struct.pack("<H", 7))
        self.rejects("version 7", "version 1")

    def test_code_with_a_wrong_hash(self):
        path = self.plan()
        with open(path, "rb") as file:
            data = file.read()
        code = data.find(b"BC\xc0\xde")
        self.assertGreater(code, 0, "the plan holds no bitcode")
        patch(path, code + 64, bytes([data[code + 64] ^ 1]))
        self.rejects("is damaged", "expects the SHA-256", "found")
        # A hand that changed the plan's digest too.
        with open(path, "rb") as file:
            data = file.read()
        patch(path, 0, tiny.sealed_plan(data))
        self.rejects("code ", "expects the SHA-256", "found", "the code was")

    def test_launch_list_that_was_changed(self):
        """In bounds, and yet not what was written: kernels would write to
        other places, or too much."""
        path = self.plan()
        with open(path, "rb") as file:
            whole = file.read()
        program = (8, [0], 6, [0])  # variants[0].programs[0]
        launches = tiny.plan_place(whole, *program, 4)
        launches += struct.unpack_from("<I", whole, launches)[0]
        count = struct.unpack_from("<I", whole, launches)[0]
        extent = tiny.plan_place(whole, *program, 4, [0], 2, [0], 0, [0], 0)
        for place, form, value in ((launches, "<I", count - 1),
                                   (extent, "<q", 2)):
            with self.subTest(place=place):
                self.assertNotEqual(struct.unpack_from(form, whole, place)[0],
                                    value)
                with open(path, "wb") as file:
                    file.write(whole)
                patch(path, place, struct.pack(form, value))
                self.rejects("is damaged", "expects the SHA-256", "found")

    def test_truncated(self):
        path = self.plan()
        with open(path, "rb") as file:
            data = file.read()
        for size in (8, 64, len(data) // 2, len(data) - 64):
            with self.subTest(size=size):
                with open(path, "wb") as file:
                    file.write(data[:size])
                self.rejects(".")

    def test_offsets_that_lead_astray(self):
        patch(self.plan(), 0, struct.pack("<I", 2 ** 31 - 16))
        self.rejects("damaged")

    def test_weights_that_are_gone(self):
        self.plan()
        os.remove(self.path("model", "model.safetensors"))
        self.fails(["generate", self.path("plan.moep"), "--prompt", "a"],
                   "model.safetensors")

    def test_weights_that_shrank(self):
        self.plan()
        cut(self.path("model", "model.safetensors"), 4096)
        self.fails(["generate", self.path("plan.moep"), "--prompt", "a"],
                   "model.safetensors")

    def flip(self, offset=-4):
        """Other numbers of the same size."""
        tensors = self.path("model", "model.safetensors")
        with open(tensors, "r+b") as file:
            file.seek(offset, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(offset, os.SEEK_END)
            file.write(bytes([byte ^ 0x10]))

    def test_weights_of_another_size(self):
        self.plan()
        with open(self.path("model", "model.safetensors"), "ab") as file:
            file.write(bytes(64))
        self.fails(["generate", self.path("plan.moep"), "--prompt", "a"],
                   "expects a file of", "changed since the plan",
                   place=self.path("model", "model.safetensors"))

    def test_weights_that_changed(self):
        run = ["generate", self.plan(), "--prompt", "a", "--max-tokens", 1]
        self.succeeds(*run, "--verify")
        self.flip()
        self.succeeds(*run)
        self.fails([*run, "--verify"], "expects bytes with the SHA-256",
                   place=self.path("model", "model.safetensors"))

    def test_source_of_computed_weights_that_changed(self):
        """Redrawn experts lie in no file; what they are drawn from does."""
        model = tiny.write_hf(self.path("model"))
        module, plan = self.path("m.moe"), self.path("plan.moep")
        self.succeeds("upcycle", model, "-o", module, "--init", "drop",
                      "--experts", 4)
        self.succeeds("compile", module, "-o", plan, "--pack=none", "--target",
                      "cpu-generic")
        run = ["generate", plan, "--prompt", "a", "--max-tokens", 1]
        self.succeeds(*run, "--verify")
        self.flip()
        self.fails([*run, "--verify"], "SHA-256", "found", place=model)
        # The receipt's digest is in the module, and compared when compiling.
        self.fails(["compile", module, "-o", self.path("other.moep")],
                   "SHA-256", "changed since the module was made",
                   place=model)
        self.assertFalse(os.path.exists(self.path("other.moep")))

    def test_source_of_a_module_without_digests_that_changed(self):
        """A module of passes states none; its plan does."""
        model = tiny.write_hf(self.path("model"))
        dense, sparse = self.path("d.moe"), self.path("s.moe")
        self.succeeds("import", model, "-o", dense)
        self.succeeds("opt", dense, "--passes=upcycle{experts=4,top_k=2,"
                      "init=drop}", "-o", sparse)
        plan = self.path("plan.moep")
        self.succeeds("compile", sparse, "-o", plan, "--pack=none", "--target",
                      "cpu-generic")
        run = ["generate", plan, "--prompt", "a", "--max-tokens", 1]
        self.succeeds(*run, "--verify")
        self.flip()
        self.fails([*run, "--verify"], "SHA-256", "found", place=model)

    def test_variant_that_is_not_there(self):
        self.plan()
        self.fails(["generate", self.path("plan.moep"), "--prompt", "a",
                    "--variant", "cpu-x86-mystery"], "cpu-x86-mystery",
                   "cpu-generic")


class Requests(harness.MoecTest):
    """Flags that a model cannot serve."""

    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))

    def upcycle(self, *arguments):
        return ["upcycle", self.model, "-o", self.path("out.moe"), *arguments]

    def test_top_k_above_experts(self):
        self.fails(self.upcycle("--experts", 4, "--top-k", 5), "5", "4")
        self.assertFalse(os.path.exists(self.path("out.moe")))

    def test_top_k_of_zero(self):
        self.fails(self.upcycle("--top-k", 0), "0")

    def test_no_experts(self):
        self.fails(self.upcycle("--experts", 0), "0")

    def test_drop_ratio_above_one(self):
        self.fails(self.upcycle("--init", "drop", "--drop-ratio", 1.5), "1.5",
                   "1")

    def test_drop_ratio_below_zero(self):
        self.fails(self.upcycle("--init", "drop", "--drop-ratio=-0.1"), "-0.1",
                   "0")

    def test_drop_ratio_that_is_no_number(self):
        self.fails(self.upcycle("--init", "drop", "--drop-ratio", "nan"),
                   "nan")

    def test_numbers_that_are_none(self):
        for flag in ("--drop-ratio", "--noise-std", "--router-std"):
            for value in ("", "inf", "-inf", "nan", "1e999", "0.5x", "0,5"):
                with self.subTest(flag=flag, value=value):
                    self.fails(self.upcycle("--init", "drop",
                                            f"{flag}={value}"), "number",
                               place=flag)

    def test_unknown_policy(self):
        self.fails(self.upcycle("--init", "magic"), "magic", "copy", "drop")

    def test_unknown_router(self):
        self.fails(self.upcycle("--router", "magic"), "magic",
                   "softmax_topk_renorm")

    def test_layers_that_are_not_there(self):
        self.fails(self.upcycle("--layers", "1-7"), "7")

    def test_experts_upcycled_again(self):
        self.succeeds(*self.upcycle())
        self.fails(["upcycle", self.path("out.moe"), "-o",
                    self.path("twice.moe")], "experts already")

    def test_prompt_longer_than_the_context(self):
        self.fails(["generate", self.model, "--prompt", "a" * 65], "65", "64")

    def test_ids_longer_than_the_context(self):
        ids = ",".join(["5"] * 70)
        self.fails(["eval", self.model, "--ids", ids, "--logits",
                    self.path("l.npy")], "70", "64")
        self.assertEqual(self.left_over(), [])

    def test_ids_outside_the_vocabulary(self):
        self.fails(["generate", self.model, "--prompt-ids", "1,300"], "300")
        self.fails(["generate", self.model, "--prompt-ids=-5"], "-5",
                   code=2)

    def test_empty_prompt(self):
        self.fails(["generate", self.model, "--prompt", ""], "no tokens")

    def test_bench_longer_than_the_context(self):
        self.fails(["bench", self.model, "--prefill", 60, "--decode", 20],
                   "60", "20", "64")
        self.fails(["bench", self.model, "--prefill", 2 ** 63 - 1, "--decode",
                    2 ** 63 - 1], "64")

    def test_sampler_settings(self):
        for flag, value in (("--temperature", "-1"), ("--top-p", "1.5"),
                            ("--min-p", "-0.5"),
                            ("--repetition-penalty", "0")):
            with self.subTest(flag=flag):
                self.fails(["generate", self.model, "--prompt", "a",
                            f"{flag}={value}"], "expected", "got")

    def test_unknown_type(self):
        self.fails(["compile", self.model, "-o", self.path("p.moep"),
                    "--dtype", "f8"], "f8", "bf16", code=2)

    def test_unknown_target(self):
        self.fails(["compile", self.model, "-o", self.path("p.moep"),
                    "--target", "tpu"], "tpu", "cpu-x86-avx2", code=2)

    def test_unknown_pass(self):
        self.succeeds("import", self.model, "-o", self.path("m.moe"))
        self.fails(["opt", self.path("m.moe"), "--passes=magic"], "magic")

    def test_text_that_is_missing(self):
        self.fails(["eval", self.model, "--text", self.path("none.txt")],
                   "No such file", place=self.path("none.txt"))

    def test_text_that_is_a_folder(self):
        self.fails(["eval", self.model, "--text", self.folder],
                   place=self.folder)

    def test_model_that_is_missing(self):
        for command in (["inspect"], ["generate", "--prompt", "a"],
                        ["upcycle", "-o", self.path("x.moe")],
                        ["compile", "-o", self.path("x.moep")]):
            with self.subTest(command=command[0]):
                self.fails([command[0], self.path("none"), *command[1:]],
                           "No such file", place=self.path("none"))

    def test_model_that_is_something_else(self):
        path = self.path("notes.txt")
        with open(path, "w") as file:
            file.write("nothing of use\n" * 20)
        self.fails(["inspect", path], place=path)
        os.makedirs(self.path("empty"))
        self.fails(["inspect", self.path("empty")])


if __name__ == "__main__":
    unittest.main()
