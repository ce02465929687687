"""Text out: every variant, element type and thread count; and the golden texts
of real checkpoints where MOEC_TEST_DATA has them."""

import json
import os
import time
import unittest

import harness
import tiny

DATA = os.environ.get("MOEC_TEST_DATA") or os.path.join(
    os.environ["MOEC_SOURCE_DIR"], "..", "shared", "data")


def variants(test):
    """Those that this machine can run, by the doctor."""
    return [entry["what"] for entry in test.json("doctor")
            if entry["what"].startswith("cpu-") and entry["ok"]]


CHATML = (
    "{% for m in messages %}{% set message = m %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}")
DATED = (
    "{{- bos_token }}{%- set date_string = DATE %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{- \"Cutting Knowledge Date: December 2023\\n\" }}"
    "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}"
    "{{- system_message + '<|eot_id|>' }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}")


class Chat(harness.MoecTest):
    """The prompt is what the model's template makes of the messages."""

    def assert_prompt(self, template, expected, *arguments):
        model = tiny.write_hf(self.path("model"),
                              dict(tiny.MODEL, context=512))
        with open(self.path("model", "tokenizer_config.json"), "w") as file:
            json.dump({"chat_template": template, "bos_token": "<s>"}, file)
        answer = self.json("generate", model, "--chat", "--max-tokens", 0,
                           *arguments)
        self.assertEqual(answer["prompt_ids"], self.json(
            "tokenize", model, "--no-special", "--text", expected)["ids"])

    def test_says_the_default_system_message(self):
        self.assert_prompt(
            CHATML, "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
            " Hi\n<|im_end|>\n<|im_start|>assistant\n", "--prompt", " Hi\n")

    def test_takes_a_system_message(self):
        self.assert_prompt(
            CHATML, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU"
            "<|im_end|>\n<|im_start|>assistant\n",
            "--prompt", "U", "--system", "S")
        # One without a word is not the default.
        self.assert_prompt(
            CHATML, "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nU"
            "<|im_end|>\n<|im_start|>assistant\n",
            "--prompt", "U", "--system", "")

    def test_states_today_where_the_template_asks(self):
        for date, stated in (('"26 Jul 2024"', "26 Jul 2024"),
                             ('strftime_now("%d %b %Y")',
                              time.strftime("%d %b %Y"))):
            with self.subTest(date=date):
                self.assert_prompt(
                    DATED.replace("DATE", date),
                    "<s><|start_header_id|>system<|end_header_id|>\n\n"
                    "Cutting Knowledge Date: December 2023\nToday Date: "
                    f"{stated}\n\n<|eot_id|><|start_header_id|>user"
                    "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>"
                    "assistant<|end_header_id|>\n\n", "--prompt", "Hi")


class Generate(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.sparse = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", self.sparse, "--experts", 4,
                      "--init", "drop")

    def ids(self, model, *arguments):
        return self.json("generate", model, "--prompt", "abc", "--ignore-eos",
                         "--max-tokens", 24, *arguments)["ids"]

    def test_variants_agree(self):
        for model in (self.model, self.sparse):
            expected = self.ids(model, "--variant", "cpu-generic",
                                "--dtype", "f32")
            self.assertEqual(len(expected), 24)
            for variant in variants(self):
                with self.subTest(model=model, variant=variant):
                    self.assertEqual(expected, self.ids(
                        model, "--variant", variant, "--dtype", "f32"))

    def test_types_run(self):
        for model in (self.model, self.sparse):
            for dtype in ("f32", "bf16", "q8_0"):
                for variant in variants(self):
                    with self.subTest(model=model, dtype=dtype,
                                      variant=variant):
                        self.assertEqual(24, len(self.ids(
                            model, "--dtype", dtype, "--variant", variant)))

    def test_same_for_any_number_of_threads(self):
        for model in (self.model, self.sparse):
            for dtype in ("f32", "bf16"):
                logits = []
                for threads in (1, 2):
                    out = self.path(f"{threads}.npy")
                    self.succeeds("eval", model, "--ids", "1,5,9,7,100",
                                  "--logits", out, "--threads", threads,
                                  "--dtype", dtype)
                    logits.append(harness.digest_of(out))
                with self.subTest(model=model, dtype=dtype):
                    self.assertEqual(logits[0], logits[1])

    def test_sampling_follows_the_seed(self):
        def sampled(seed):
            return self.ids(self.model, "--temperature", 1.5, "--seed", seed)
        self.assertEqual(sampled(1), sampled(1))
        self.assertNotEqual(sampled(1), sampled(2))
        self.assertEqual(
            self.ids(self.model), self.ids(self.model, "--temperature", 2,
                                           "--top-k", 1))

    def test_each_filter_can_leave_the_best_alone(self):
        greedy = self.ids(self.model)
        for flag, value in (("--top-k", 1), ("--top-p", 1e-9), ("--min-p", 1)):
            with self.subTest(flag=flag):
                self.assertEqual(greedy, self.ids(
                    self.model, "--temperature", 2, flag, value))

    def test_a_large_penalty_forbids_what_was_there(self):
        ids = self.ids(self.model, "--repetition-penalty", 1e9)
        self.assertEqual(len(set(ids)), 24)
        self.assertNotIn("abc", self.succeeds(
            "generate", self.model, "--prompt", "abc", "--max-tokens", 24,
            "--repetition-penalty", 1e9)[3:])

    def test_stops_at_the_context(self):
        answer = self.json("generate", self.model, "--prompt", "a" * 60,
                           "--ignore-eos", "--max-tokens", 500)
        self.assertEqual(answer["stop"], "context")
        self.assertLessEqual(len(answer["ids"]), 5)

    def test_text_and_json_say_the_same(self):
        answer = self.json("generate", self.model, "--prompt", "abc",
                           "--max-tokens", 8)
        text = self.run_moec("generate", self.model, "--prompt", "abc",
                             "--max-tokens", 8).stdout
        self.assertEqual(text.decode(errors="replace"),
                         "abc" + answer["text"] + "\n")

    def test_words_stand_apart_as_in_the_whole_text(self):
        """The first word after the prompt keeps its space."""
        model = tiny.write_llama2c(self.path("m.bin"))
        tokenizer = tiny.write_llama2c_tokenizer(self.path("t.bin"), 300)
        arguments = [model, "--tokenizer", tokenizer, "--ignore-eos",
                     "--max-tokens", 12]
        answer = self.json("generate", *arguments, "--prompt", "abc")
        text = self.succeeds("generate", *arguments, "--prompt", "abc")
        self.assertEqual(text, "abc" + answer["text"] + "\n")
        # The same tokens as a prompt of ids decode to the same text.
        ids = ",".join(map(str, answer["prompt_ids"]))
        self.assertEqual(text, self.succeeds(
            "generate", *arguments, "--prompt-ids", ids))

    def test_prompt_from_a_file(self):
        with open(self.path("prompt"), "w") as file:
            file.write("abc")
        expected = self.json("generate", self.model, "--prompt", "abc",
                             "--max-tokens", 4)["ids"]
        self.assertEqual(expected, self.json(
            "generate", self.model, "--file", self.path("prompt"),
            "--max-tokens", 4)["ids"])
        with open(self.path("prompt")) as file:
            self.assertEqual(expected, self.json(
                "generate", self.model, "--file", "-", "--max-tokens", 4,
                stdin=file)["ids"])

    def test_flags_that_contradict_each_other(self):
        for flags in (["--prompt", "a", "--prompt-ids", 1],
                      ["--prompt", "a", "--file", "b"],
                      ["--prompt-ids", 1, "--chat"],
                      ["--prompt", "a", "--system", "b"],
                      ["--prompt", "a", "--max-tokens", -1],
                      ["--prompt", "a", "--dtype", "f64"]):
            with self.subTest(flags):
                self.fails(["generate", self.model, *flags], code=2)

    def test_settings_of_the_sampler(self):
        for flag, value in (("--temperature", -1), ("--top-p", 0),
                            ("--top-p", 1.5), ("--min-p", 2),
                            ("--repetition-penalty", 0)):
            with self.subTest(flag, value=value):
                result = self.run_moec("generate", self.model, "--prompt", "a",
                                       flag, value)
                self.assertEqual(result.returncode, 1)
                self.assertEqual(result.stdout, b"")
                self.assertIn(f"got {value}", result.stderr)

    def test_statistics(self):
        text = self.run_moec("generate", self.sparse, "--prompt", "abc",
                             "--max-tokens", 4, "--stats").stdout
        self.assertIn(b"experts chosen", text)
        self.assertIn(b"prefill", text)
        self.assertIn(b"stopped after 4 tokens: max_tokens", text)
        answer = self.json("generate", self.sparse, "--prompt", "abc",
                           "--max-tokens", 4)
        # Three tokens of the prompt, three of the four that were written.
        tokens = len(answer["prompt_ids"]) + 3
        for layer in answer["expert_load"]:
            self.assertEqual(sum(layer["counts"]), 2 * tokens)


@unittest.skipUnless(os.path.exists(os.path.join(DATA, "goldens.json")),
                     "no MOEC_TEST_DATA: golden texts are not compared")
class Goldens(harness.MoecTest):
    MODELS = {
        "stories260K": ["stories260K.bin", "tok512.bin"],
        "tinystories-656k": ["", None],
    }

    def arguments(self, name):
        model, tokenizer = self.MODELS[name]
        folder = os.path.join(DATA, "models", name)
        result = [os.path.join(folder, model).rstrip("/")]
        return result + (["--tokenizer", os.path.join(folder, tokenizer)]
                         if tokenizer else [])

    def check(self, name, *arguments):
        with open(os.path.join(DATA, "goldens.json")) as file:
            goldens = json.load(file)[name]
        for case in goldens["greedy"]:
            prompt = ",".join(map(str, case["prompt_ids"]))
            # The golden ids begin with the prompt's.
            expected = case["ids"]
            if expected[:len(case["prompt_ids"])] == case["prompt_ids"]:
                expected = expected[len(case["prompt_ids"]):]
            answer = self.json("generate", *arguments, "--prompt-ids", prompt,
                               "--max-tokens", len(expected), "--dtype", "f32")
            found = answer["ids"]
            # The text ends where the model says so.
            self.assertEqual(found, expected[:len(found)])
            self.assertGreaterEqual(len(found), len(expected) - 1)

    def test_dense(self):
        for name in self.MODELS:
            for variant in variants(self):
                with self.subTest(name=name, variant=variant):
                    self.check(name, *self.arguments(name), "--variant",
                               variant)

    def test_copied_experts(self):
        for name in self.MODELS:
            out = self.path(name + ".moe")
            self.succeeds("upcycle", *self.arguments(name), "-o", out,
                          "--experts", 8, "--top-k", 2, "--probe", "")
            for variant in variants(self):
                with self.subTest(name=name, variant=variant):
                    self.check(name, out, "--variant", variant)

    def test_compiled_plan(self):
        for name in self.MODELS:
            module, plan = self.path(name + ".moe"), self.path(name + ".moep")
            self.succeeds("import", *self.arguments(name), "-o", module)
            self.succeeds("compile", module, "-o", plan, "--dtype", "f32")
            self.check(name, plan)


if __name__ == "__main__":
    unittest.main()
