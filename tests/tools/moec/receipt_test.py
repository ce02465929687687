"""Receipts of upcycling: what is measured, what is promised, and the page."""

import html.parser
import json
import os
import re
import unittest

import harness
import tiny

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(html.parser.HTMLParser):
    """Checks that elements close in order, and collects tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def read_page(test, path):
    """A page that stands alone: no scripts, nothing fetched."""
    with open(path, encoding="utf-8") as file:
        page = Page(file.read())
    for tag, attributes in page.tags:
        test.assertNotIn(tag, ("script", "link", "iframe", "img", "object"))
        for name in attributes:
            test.assertFalse(name.startswith("on"), f"{tag} {name}")
            test.assertNotIn(name, ("src", "href"))
    return page


class Receipt(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))

    def receipt(self, *arguments):
        return self.json("upcycle", self.model, "-o", self.path("out.moe"),
                         "--experts", 4, *arguments)

    def test_copies_are_promised_and_measured(self):
        receipt = self.receipt()
        self.assertEqual(receipt["promise"]["exactness"], "exact")
        self.assertLessEqual(receipt["promise"]["bound"], 1e-6)
        for layer in receipt["layers"]:
            self.assertIn(layer["measured"], ("equal", "exact"))
            self.assertGreater(layer["error_floor"], 0)
            self.assertLess(layer["error_floor"], 1e-6)
            self.assertEqual(layer["expert_cosine"]["min"], 1)
            self.assertEqual(layer["router"]["rank"], 4)
            self.assertGreaterEqual(layer["router"]["condition"], 1)
            self.assertEqual([m["name"] for m in layer["matrices"]],
                             ["gate", "up", "down"])
            for matrix in layer["matrices"]:
                for norm in matrix["norm_after"]:
                    self.assertAlmostEqual(norm, matrix["norm_before"])

    def test_exact_groups_keep_their_promise(self):
        for router in ("normal", "uniform"):
            receipt = self.receipt(
                "--experts", 16, "--top-k", 4, "--init", "virtual-group",
                "--granularity", 4, "--scaling", "exact", "--router",
                "topk-softmax", "--router-init", router, "--router-std", 1)
            self.assertEqual(receipt["promise"]["exactness"], "exact")
            self.assertTrue(receipt["equals_dense"])
            for layer in receipt["layers"]:
                self.assertEqual(layer["ties"], 0)
                # Rows of a group repeat: 4 of 16 are different.
                self.assertEqual(layer["router"]["rank"], 4)
                self.assertIsNone(layer["router"]["condition"])

    def test_nothing_is_promised_of_redrawn_experts(self):
        receipt = self.receipt("--init", "drop")
        self.assertEqual(receipt["promise"]["exactness"], "none")
        self.assertNotIn("bound", receipt["promise"])
        for layer in receipt["layers"]:
            self.assertEqual(layer["measured"], "differs")
            cosine = layer["expert_cosine"]
            self.assertLess(cosine["max"], 0.9)
            self.assertEqual(len(cosine["matrix"]), 4)
            for e, row in enumerate(cosine["matrix"]):
                self.assertEqual(row[e], 1)
                self.assertEqual(row, [other[e] for other in cosine["matrix"]])

    def test_formula_and_measurement_agree(self):
        # Without renormalisation, half of the probability is lost.
        receipt = self.receipt("--router", "softmax-topk")
        self.assertEqual(receipt["promise"]["exactness"], "approximate")
        self.assertAlmostEqual(receipt["promise"]["predicted"], 0.5)
        for layer in receipt["layers"]:
            self.assertAlmostEqual(layer["output_error"], 0.5, delta=0.05)

    def test_shared_experts_are_measured_with_their_block(self):
        receipt = self.receipt("--shared-experts", 1, "--shared-gate")
        for layer in receipt["layers"]:
            # A gate of zero lets half of the shared copy through.
            self.assertAlmostEqual(layer["output_error"], 0.5, delta=1e-5)
            self.assertIn("shared.up", [m["name"] for m in layer["matrices"]])

    def heads(self, *arguments):
        """Receipts of the FFNs and of the mixtures of heads."""
        receipt = self.receipt("--recipe", "ds-moe", "--set", "N=4", "--set",
                               "attention=mixture", *arguments)
        self.assertEqual([(x["layer"], x["block"]) for x in receipt["layers"]],
                         [(0, "attention"), (0, "ffn"), (1, "attention"),
                          (1, "ffn")])
        return receipt, receipt["layers"][::2]

    def test_mixtures_of_heads_are_measured(self):
        receipt, heads = self.heads("--html", self.path("page.html"))
        self.assertEqual(receipt["promise"]["exactness"], "exact_all_experts")
        self.assertTrue(receipt["equals_dense"])
        for layer in heads:
            self.assertIn(layer["measured"], ("equal", "exact"))
            self.assertLessEqual(layer["output_error"], 1e-6)
            # Four heads, two that share a KV head: two experts, all run.
            self.assertEqual((layer["experts"], layer["top_k"]), (2, 2))
            self.assertEqual(layer["load"], [receipt["probe_tokens"]] * 2)
            self.assertEqual(layer["router"]["rank"], 0)
            projection, = layer["matrices"]
            self.assertEqual(projection["name"], "attn.o")
            self.assertAlmostEqual(projection["norm_after"][0],
                                   2 * projection["norm_before"])
        page = read_page(self, self.path("page.html"))
        self.assertIn("1 heads", page.text)
        self.assertIn("mixtures of heads measured", page.text)

    def test_mixtures_of_heads_without_the_factor(self):
        receipt, heads = self.heads("--scaling", "none")
        for layer in heads:
            self.assertAlmostEqual(layer["output_error"], 0.5, delta=1e-6)
        receipt, heads = self.heads("--router-init", "normal", "--router-std",
                                    0.5)
        self.assertEqual(receipt["promise"]["exactness"], "approximate")
        self.assertNotIn("bound", receipt["promise"])
        for layer in heads:
            self.assertEqual(layer["measured"], "differs")

    def test_some_heads_promise_nothing(self):
        receipt, heads = self.heads("--attention-top-k", 1)
        self.assertEqual(receipt["promise"]["exactness"], "none")
        self.assertIn("heads", receipt["promise"]["condition"])
        for layer in heads:
            self.assertEqual(layer["top_k"], 1)
            self.assertEqual(sum(layer["load"]), receipt["probe_tokens"])
            self.assertGreater(layer["output_error"], 0.1)

    def test_sources_have_digests(self):
        receipt = self.receipt()
        self.assertEqual(len(receipt["sources"]), 1)
        self.assertEqual(receipt["sources"][0]["sha256"],
                         receipt["source_sha256"])

    def test_folder_holds_its_receipt(self):
        out = self.path("folder")
        told = self.json("upcycle", self.model, "-o", out, "--experts", 4,
                         "--init", "drop")
        with open(os.path.join(out, "receipt.json")) as file:
            self.assertEqual(json.load(file), told)
        page = read_page(self, os.path.join(out, "receipt.html"))
        for part in ("Output error by layer", "Expert load",
                     "Likeness of experts", told["source_sha256"]):
            self.assertIn(part, page.text)
        self.assertGreaterEqual(
            len([tag for tag, _ in page.tags if tag == "svg"]), 3)

    def test_edits_are_measured_against_the_model_before(self):
        sparse = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", sparse, "--experts", 4)
        out = self.path("edited.moe")
        merged = self.json("upcycle", sparse, "-o", out, "--to-dense",
                           "average")
        self.assertEqual(len(merged["layers"]), 2)
        for layer in merged["layers"]:
            self.assertLessEqual(layer["output_error"], 1e-6)
            self.assertEqual(layer["experts"], 0)
        edited = self.json("upcycle", sparse, "-o", out,
                           "--edit-expert", "layer=1,expert=2,init=drop")
        first, second = edited["layers"]
        self.assertEqual(first["output_error"], 0)
        self.assertEqual(first["expert_cosine"]["min"], 1)
        self.assertLess(second["expert_cosine"]["min"], 0.9)
        self.assertEqual(second["expert_cosine"]["max"], 1)
        self.assertEqual(second["output_error"] > 0, second["load"][2] > 0)

    def test_rounding_of_a_folder_is_measured(self):
        def worst(dtype, *arguments):
            receipt = self.json("upcycle", self.model, "-o",
                                self.path(dtype + str(len(arguments))),
                                "--dtype", dtype, *arguments)
            return max(x["output_error"] for x in receipt["layers"])

        # Copies are rounded as the dense model is; the square root of 3 is
        # rounded anew, within what is promised.
        self.assertLessEqual(worst("bf16"), 1e-6)
        groups = ("--init", "virtual-group", "--granularity", 2, "--experts",
                  6, "--top-k", 4, "--scaling", "exact", "--router",
                  "softmax-topk", "--router-init", "zero")
        self.assertLessEqual(worst("f32", *groups), 1e-6)
        self.assertGreater(worst("bf16", *groups), 1e-4)

    def test_page_of_a_hostile_name(self):
        evil = self.path("<img src=x onerror=alert(1)>&\"'")
        os.rename(self.model, evil)
        out = self.path("page.html")
        self.succeeds("upcycle", evil, "-o", self.path("m.moe"), "--html", out)
        page = read_page(self, out)
        self.assertIn("<img src=x onerror=alert(1)>&\"'", page.text)

    def test_page_without_a_measurement(self):
        out = self.path("page.html")
        self.succeeds("upcycle", self.model, "-o", self.path("m.moe"),
                      "--probe", "", "--html", out)
        self.assertIn("Not measured", read_page(self, out).text)

    def test_page_that_cannot_be_written(self):
        self.fails(["upcycle", self.model, "-o", self.path("m.moe"), "--html",
                    self.path("no", "page.html")], "page.html")

    def test_table_shows_every_layer(self):
        text = self.succeeds("upcycle", self.model, "-o", self.path("m.moe"))
        rows = re.findall(r"(?m)^ +(\d) +\d\.\d\de[-+]\d+ ", text)
        self.assertEqual(rows, ["0", "1"])
        self.assertIn("promised", text)
        self.assertRegex(text, r"(?m)^seed +1$")


if __name__ == "__main__":
    unittest.main()
