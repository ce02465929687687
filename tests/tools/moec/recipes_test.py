"""Recipes as a user has them: the catalogue, files of one's own, what is set
over them, further models, and plans."""

import json
import os
import struct
import unittest

import harness
import tiny

RECIPES = """btx deepseek-moe deepseek-v3-router drop-upcycling
drop-upcycling-released ds-moe expert-choice from-scratch llama-moe
llama-moe-shared llama3-moe mergekit moefication moefication-learned
noise-upcycling olmoe-upcycling pesc qwen2-moe remoe skywork sparse-upcycling
virtual-group virtual-group-exact xmoe""".split()

# What each promises of the dense function at step 0.
EXACT = ["sparse-upcycling", "llama3-moe", "virtual-group-exact", "skywork",
         "pesc", "deepseek-v3-router", "mergekit", "ds-moe"]


class RecipeTest(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.out = self.path("out.moe")

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def upcycle(self, *arguments):
        return ["upcycle", self.model, "-o", self.out, *arguments]


class Catalogue(RecipeTest):
    def test_names(self):
        found = [recipe["name"] for recipe in self.json("recipes")]
        self.assertEqual(found, RECIPES)
        table = self.succeeds("recipes")
        for name in RECIPES:
            self.assertIn(name, table)

    def test_explains_each(self):
        for name in RECIPES:
            with self.subTest(name):
                text = self.succeeds("recipes", name)
                self.assertIn("Preserves at step 0:", text)
                self.assertIn("--recipe " + name, text)
                self.assertLessEqual(max(map(len, text.split("\n"))), 160)

    def test_yaml_can_be_copied(self):
        for name in RECIPES:
            with self.subTest(name):
                copy = self.write("mine.yaml",
                                  self.succeeds("recipes", name, "--yaml"))
                ours = self.json("recipes", name)
                self.assertEqual(self.json("recipes", copy), ours)

    def test_exact_ones_are_exact(self):
        for name in EXACT:
            with self.subTest(name):
                extra = ["--set", "N=4"] if name == "ds-moe" else []
                receipt = self.json(*self.upcycle("--recipe", name, *extra,
                                                  "--dtype", "f32"))
                self.assertEqual(receipt["recipe"], name)
                for layer in receipt["layers"]:
                    self.assertLessEqual(layer["output_error"], 1e-6)

    def test_presets(self):
        for preset, experts, topk in (("E8G8T8", 64, 8), ("E8G1T2", 8, 2),
                                      ("E2G4T4", 8, 4)):
            with self.subTest(preset):
                recipe = self.json("recipes", f"virtual-group:{preset}")
                self.assertEqual(recipe["options"].get("experts", 8), experts)
                self.assertEqual(recipe["options"].get("top_k", 2), topk)

    def test_training_goes_into_the_module(self):
        self.succeeds(*self.upcycle("--recipe", "drop-upcycling", "--set",
                                    "training.schedule.peak=3e-4", "--set",
                                    "training.losses.balance.coef=0.05",
                                    "--seed", 7))
        text = self.succeeds("dump", self.out)
        for part in ("training.optimizer", "training.losses", "all_layers",
                     "upcycle.recipe", "lineage.source_sha256",
                     "lineage.recipe_sha256"):
            self.assertIn(part, text)
        self.assertIn('\\"peak\\":3e-04', text)
        self.assertIn('\\"coef\\":0.05', text)
        self.assertIn('"drop-upcycling 1"', text)

    def test_the_licence_goes_along(self):
        with open(os.path.join(self.model, "README.md"), "w") as file:
            file.write("---\ntags: [x]\nlicense: apache-2.0\n---\n# A model\n")
        self.succeeds(*self.upcycle())
        self.assertIn('fact "lineage.licence" = "apache-2.0"',
                      self.succeeds("dump", self.out))

    def test_attention_losses_need_a_mixture(self):
        losses = self.json("recipes", "ds-moe")["training"]["losses"]
        self.assertEqual([loss["target"] for loss in losses], ["ffn"])
        copy = self.succeeds("recipes", "ds-moe", "--yaml").replace(
            "attention: dense", "attention: mixture")
        losses = self.json("recipes", self.write("m.yaml", copy))[
            "training"]["losses"]
        self.assertEqual([loss["target"] for loss in losses],
                         ["ffn", "attention"])


class Set(RecipeTest):
    def recipe(self, *arguments):
        receipt = self.json(*self.upcycle(*arguments))
        return receipt["options"]

    def test_order_of_precedence(self):
        base = ["--recipe", "drop-upcycling"]
        self.assertNotIn("drop_ratio", self.recipe(*base))
        self.assertIn("drop_ratio = 0.25",
                      self.recipe(*base, "--set", "drop_ratio=0.25"))
        both = self.recipe(*base, "--drop-ratio", 0.75, "--set",
                           "drop_ratio=0.25")
        self.assertIn("drop_ratio = 0.75", both)

    def test_another_policy_drops_what_belonged_to_the_first(self):
        self.assertNotIn("drop", self.recipe("--recipe", "drop-upcycling",
                                             "--init", "copy"))

    def test_policies_one_after_the_other(self):
        options = self.recipe("--recipe", "virtual-group-exact", "--set",
                              "then=drop", "--set", "drop_ratio=0.25")
        self.assertIn("then = drop, ", options)
        self.fails(self.upcycle("--recipe", "virtual-group-exact", "--set",
                                "drop_ratio=0.25"),
                   "'init' is drop or qwen2 or 'then' is drop")

    def test_spelling_with_dashes(self):
        self.assertIn("drop_set = independent", self.recipe(
            "--set", "drop-set=independent", "--init", "drop"))

    def test_flags_alone(self):
        options = self.recipe("--init", "drop", "--drop-ratio", "0.25",
                              "--experts", 4, "--top-k", 3, "--router",
                              "softmax-topk-renorm", "--seed", 5)
        self.assertEqual(options, "{init = drop, experts = 4, top_k = 3, "
                                  "seed = 5, drop_ratio = 0.25}")

    def test_errors(self):
        drop = ["--recipe", "drop-upcycling"]
        for given, place, *parts in (
                (["--set", "top_kk=2"], "--set:1:1", "top_kk", "'top_k'"),
                (["--set", "top_k=two"], "--set:1:7", "'two'", "an integer"),
                (["--set", "top_k"], "--set:1:1", "KEY=VALUE"),
                (["--set", "init=dropp"], "--set:1:6", "dropp", "drop"),
                (["--set", "top_k=9"], "--set:1:7", "9", "8 experts"),
                (["--set", "noise_std=1"], "--set:1:1", "'init' is noise"),
                (["--set", "granularity=2"], "--set:1:1", "virtual_group"),
                (["--set", "training.optimiser.beta1=1"], "--set:1:10",
                 "optimiser", "'optimizer'"),
                (["--set", "training.tokens=many"], "--set:1:17", "a number"),
                (["--set", "training.losses.z.coef=1"], "--set:1:17",
                 "no item 'z'"),
                (["--set", "trainin.tokens=1"], "--set:1:1", "training."),
                (["--set", "calibration.router=magic"], "--set:1:20",
                 "prompts"),
                (["--set", "weight_scale=2"], "--set:1:1", "scaling"),
                (["--set", "shared_gate=true"], "--set:1:1",
                 "shared_experts")):
            with self.subTest(given):
                self.fails(self.upcycle(*drop, *given), *parts, place=place)

    def test_unknown_names(self):
        self.fails(self.upcycle("--recipe", "drop-upcyclin"),
                   "drop-upcyclin", "'drop-upcycling'")
        self.fails(["recipes", "virtual-groups"], "'virtual-group'")
        self.fails(self.upcycle("--recipe", "virtual-group:E8X2"), "E8X2",
                   "E8G8T8")
        self.fails(self.upcycle("--recipe", self.path("none.yaml")),
                   "cannot read", place=self.path("none.yaml"))

    def test_usage(self):
        for arguments in (["recipes", "--yaml"],
                          ["recipes", "btx", "--json", "--yaml"],
                          [*self.upcycle("--to-dense", "average", "--recipe",
                                         "btx")]):
            with self.subTest(arguments):
                self.assertEqual(self.run_moec(*arguments).returncode, 2)


class Files(RecipeTest):
    def recipe(self, *lines, head="name: mine\n"):
        return self.write("mine.yaml", head + "\n".join(lines) + "\n")

    def bad(self, line, column, parts, *lines, head="name: mine\n"):
        path = self.recipe(*lines, head=head)
        for command in (["recipes", path], self.upcycle("--recipe", path)):
            self.fails(command, *parts, place=f"{path}:{line}:{column}")

    def test_a_small_one(self):
        path = self.recipe("upcycle: {init: drop, experts: 4, seed: 3}")
        receipt = self.json(*self.upcycle("--recipe", path))
        self.assertEqual(receipt["options"],
                         "{init = drop, experts = 4, seed = 3}")

    def test_unknown_keys(self):
        self.bad(2, 1, ["upcycl", "'upcycle'"], "upcycl: {init: drop}")
        self.bad(3, 3, ["expert", "'experts'"], "upcycle:", "  expert: 4")
        self.bad(4, 15, ["bta1", "'beta1'"], "upcycle: {init: copy}",
                 "training:", "  optimizer: {bta1: 0.9}")

    def test_keys_given_twice(self):
        self.bad(4, 3, ["experts", "twice"], "upcycle:", "  experts: 4",
                 "  experts: 8")

    def test_values(self):
        self.bad(3, 12, ["many", "an integer"], "upcycle:",
                 "  experts: many")
        self.bad(2, 10, ["'upcycle'", "a map"], "upcycle: drop")
        self.bad(3, 9, ["gone", "a map"], "upcycle: {init: copy}",
                 "donors: gone")
        self.bad(3, 9, ["sha256"], "upcycle: {init: copy}",
                 "source: sha256:12")

    def test_contradictions(self):
        self.bad(4, 3, ["drop_ratio", "init", "copy"], "upcycle:",
                 "  init: copy", "  drop_ratio: 0.5")
        self.bad(3, 13, ["top-k", "5", "4"], "upcycle:",
                 "  top_k:    5", "  experts: 4")
        self.bad(3, 3, ["router_std", "uniform or normal", "zero"],
                 "upcycle:", "  router_std: 1", "  router_init: zero")

    def test_no_recipe(self):
        path = self.recipe(head="")
        self.fails(["recipes", path], "empty", place=path)
        path = self.recipe("upcycle: {}", head="")
        self.fails(["recipes", path], "'name'", place=path)
        path = self.recipe()
        self.fails(["recipes", path], "'upcycle'", place=path)

    def test_no_yaml(self):
        for text, part in (("name: [", "YAML"), ("name: x\n  y: [1", "YAML"),
                           ("a: &x 1\nb: *x\n", ""), ("{" * 1000, "deeper"),
                           ("- a\n- b\n", "a list"), ("\0", "no text"),
                           ("name: x\n---\nname: y\n", ""),
                           ("a: !tag b\n", "")):
            with self.subTest(text[:20]):
                path = self.write("bad.yaml", text)
                self.fails(["recipes", path], part, place=path)

    def test_digest_of_the_source(self):
        sha256 = self.json(*self.upcycle())["source_sha256"]
        path = self.recipe("upcycle: {init: copy}",
                           f"source: sha256:{sha256}")
        self.succeeds(*self.upcycle("--recipe", path))
        with open(os.path.join(self.model, "model.safetensors"),
                  "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x3e")
        os.remove(self.out)
        changed = self.json("upcycle", self.model, "-o",
                            self.path("o.moe"))["source_sha256"]
        self.fails(self.upcycle("--recipe", path), sha256, changed,
                   place=f"{path}:3:9")
        self.assertFalse(os.path.exists(self.out))


class DryRun(RecipeTest):
    def test_sizes(self):
        for name in RECIPES:
            if name == "btx":
                continue
            with self.subTest(name):
                folder = self.path("f-" + name)
                text = self.write("t.txt", "Once upon a time. " * 30)
                command = ["upcycle", self.model, "-o", folder, "--recipe",
                           name, "--dtype", "f32", "--probe", "",
                           "--calibration-text", text]
                plan = self.json(*command, "--dry-run")
                self.assertEqual(os.listdir(self.folder).count(
                    "f-" + name), 0)
                self.assertTrue(plan["fits"])
                self.assertGreater(plan["seconds"], 0)
                receipt = self.json(*command)
                written = sum(
                    os.path.getsize(os.path.join(folder, file))
                    for file in os.listdir(folder)
                    if file.endswith(".safetensors"))
                # The header is not counted.
                self.assertLessEqual(plan["written_bytes"], written)
                self.assertGreater(plan["written_bytes"], 0.9 * written - 65536)
                if "asan" not in harness.BINARY:
                    self.assertLess(plan["peak_bytes"], 256 << 20)
                self.assertGreater(receipt["seconds"], 0)

    def test_table(self):
        text = self.succeeds(*self.upcycle("--dry-run", "--recipe",
                                           "drop-upcycling"))
        for part in ("dry run", "is written", "peak memory", "time"):
            self.assertIn(part, text)
        self.assertFalse(os.path.exists(self.out))


class Edges(RecipeTest):
    """Numbers that do not fit, and what is allowed but seldom meant."""

    def warns(self, arguments, *parts):
        result = self.run_moec(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        for part in parts:
            self.assertIn(part, result.stderr)
        return result.stderr

    def test_granularity_that_does_not_divide_the_width(self):
        self.fails(self.upcycle("--recipe", "virtual-group", "--set", "G=5",
                                "--set", "T=5"), "64", "5", "take 4 or 8")
        self.fails(self.upcycle("--recipe", "virtual-group", "--set", "G=100",
                                "--set", "T=100"), "take 64")

    def test_top_k_that_is_no_multiple(self):
        self.warns(self.upcycle("--recipe", "virtual-group", "--set", "G=4",
                                "--set", "T=6"), "6", "4", "slices")

    def test_ties(self):
        copy = self.succeeds("recipes", "sparse-upcycling", "--yaml")
        copy = copy.replace("router_init: normal\n  router_std: 0.02",
                            "router_init: zero")
        with open(self.path("zero.yaml"), "w") as file:
            file.write(copy)
        self.warns(self.upcycle("--recipe", self.path("zero.yaml")), "ties")

    def test_an_moe_again(self):
        self.succeeds(*self.upcycle())
        self.fails(["upcycle", self.out, "-o", self.path("b.moe"), "--recipe",
                    "skywork"], "experts already")

    def test_all_neurons_in_any_order_are_the_model(self):
        text = self.write("t.txt", "Once upon a time. " * 30)
        for name in ("moefication", "moefication-learned"):
            with self.subTest(name):
                receipt = self.json(*self.upcycle(
                    "--recipe", name, "--set", "N=4", "--set", "K=4",
                    "--calibration-text", text))
                for layer in receipt["layers"]:
                    self.assertLessEqual(layer["output_error"], 1e-6)


class BackToDense(RecipeTest):
    def logits(self, model):
        out = self.path("logits.npy")
        self.succeeds("eval", model, "--ids", "1,5,9,100,7", "--logits", out)
        with open(out, "rb") as file:
            return file.read()

    def edit(self, source, *arguments):
        out = self.path("edited.moe")
        self.succeeds("upcycle", source, "-o", out, *arguments)
        return out

    def test_copies_average_to_the_model(self):
        self.succeeds(*self.upcycle("--experts", 4))
        dense = self.logits(self.model)
        for how in ("average", "2"):
            with self.subTest(how):
                self.assertEqual(self.logits(
                    self.edit(self.out, "--to-dense", how)), dense)

    def test_trained_densely_run_sparsely(self):
        self.succeeds(*self.upcycle("--recipe", "ds-moe", "--set", "N=4",
                                    "--router-init", "normal", "--router-std",
                                    "1"))
        def run(*options):
            model = self.out
            if options:
                model = self.edit(model, "--select-experts", *options)
            raw = self.logits(model)
            return struct.unpack(f"<{len(raw[128:]) // 4}f", raw[128:])

        def distance(a, b):
            return max(abs(x - y) for x, y in zip(a, b))

        every, sparse = run(), run("top_k=2")
        self.assertLess(distance(every, run("top_k=4")), 1e-4)
        self.assertLess(distance(every, run("select=threshold,threshold=-1")),
                        1e-4)
        self.assertGreater(distance(every, sparse), 1e-3)
        self.assertLess(distance(sparse, run(
            "select=threshold,threshold=-1,top_k=2")), 1e-4)

    def test_one_of_several(self):
        self.succeeds(*self.upcycle("--experts", 4, "--init", "drop"))
        first = self.logits(self.edit(self.out, "--to-dense", "0"))
        second = self.logits(self.edit(self.out, "--to-dense", "1"))
        self.assertNotEqual(first, second)

    def test_a_further_expert(self):
        self.succeeds(*self.upcycle("--experts", 4))
        out = self.edit(self.out, "--edit-expert", "layer=0,init=drop")
        experts = [layer["experts"]
                   for layer in self.json("inspect", out)["layer_list"]]
        self.assertEqual(experts, [5, 4])

    def test_errors(self):
        self.succeeds(*self.upcycle("--experts", 4))
        edit = ["upcycle", self.out, "-o", self.path("e.moe")]
        self.fails([*edit, "--to-dense", "mean"], "'mean'", code=2)
        self.fails([*edit, "--to-dense", "4"], "4")
        self.fails([*edit, "--edit-expert", "layr=0"], "layr", "'layer'",
                   place="the edit:1:13")
        self.fails([*edit, "--edit-expert", "layer=7"], "7")
        self.fails(["upcycle", self.model, "-o", self.path("e.moe"),
                    "--to-dense", "average"], "dense", place=self.model)


class Donors(RecipeTest):
    def setUp(self):
        super().setUp()
        self.other = tiny.write_hf(self.path("other"))
        self.change(self.other, b"\x3e")

    def change(self, model, byte):
        with open(os.path.join(model, "model.safetensors"), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(byte)

    def btx(self, *arguments):
        return self.upcycle("--recipe", "btx", *arguments)

    def test_experts_of_two_models(self):
        receipt = self.json(*self.btx("--donor", self.other))
        self.assertEqual(len(receipt["sources"]), 2)
        self.assertEqual(self.json("inspect", self.out)["layer_list"][0][
            "experts"], 2)
        self.succeeds("eval", self.out, "--ids", "1,5,9", "--logits",
                      self.path("l.npy"))

    def test_equal_donors(self):
        same = tiny.write_hf(self.path("same"))
        result = self.run_moec(*self.btx("--donor", self.other, "--donor",
                                         same))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("same model", result.stderr)
        self.assertIn("donor 2", result.stderr)
        self.assertIn("the base model", result.stderr)
        self.assertEqual(result.stderr.count("equal"), 1, result.stderr)

    def test_prompts_choose_among_models(self):
        """As mergekit does: the base keeps its attention."""
        with open(self.path("p.yaml"), "w") as file:
            file.write("- positive: abc\n- positive: '123'\n")
        receipt = self.json(*self.upcycle(
            "--recipe", "mergekit", "--set", "init=btx", "--donor",
            self.other, "--prompts", self.path("p.yaml")))
        self.assertEqual(len(receipt["sources"]), 3)
        self.assertEqual(len(receipt["layers"][0]["load"]), 2)
        embed = [line for line in self.succeeds("dump", self.out).split("\n")
                 if "weight @embed " in line]
        self.assertNotIn("@donor1", embed[0])

    def test_too_few(self):
        self.fails(self.btx(), "btx", "--donor")

    def test_no_policy_for_them(self):
        self.fails(self.upcycle("--donor", self.other), "btx", "copy")

    def test_shapes(self):
        wide = tiny.write_hf(self.path("wide"), dict(tiny.MODEL, ffn=128))
        self.fails(self.btx("--donor", wide), "ffn", "128", "64", place=wide)
        deep = tiny.write_hf(self.path("deep"), dict(tiny.MODEL, layers=3))
        self.fails(self.btx("--donor", deep), "layers", "3", "2", place=deep)

    def test_settings(self):
        def theta(settings):
            settings["rope_theta"] = 500000.0
        turned = tiny.write_hf(self.path("turned"), change=theta)
        self.fails(self.btx("--donor", turned), "rope", place=turned)

    def test_tokenizers(self):
        path = os.path.join(self.other, "tokenizer.json")
        with open(path) as file:
            tokenizer = json.load(file)
        vocabulary = tokenizer["model"]["vocab"]
        names = sorted(vocabulary, key=vocabulary.get)
        a, b = names[10], names[11]
        vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
        with open(path, "w") as file:
            json.dump(tokenizer, file)
        self.fails(self.btx("--donor", self.other), "token 10", a, b,
                   place=self.other)

    def test_a_model_that_is_none(self):
        self.fails(self.btx("--donor", self.path("nothing")),
                   place=self.path("nothing"))


if __name__ == "__main__":
    unittest.main()
