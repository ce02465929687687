"""Two models compared, and graphs for viewers."""

import json
import os
import re
import unittest

import harness
import tiny
from receipt_test import read_page


class Diff(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.sparse = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", self.sparse, "--experts", 4,
                      "--init", "drop")

    def test_a_model_equals_itself(self):
        for model in (self.model, self.sparse):
            answer = self.json("diff", model, model, "--weights",
                               "--exit-code")
            self.assertTrue(answer["equal"])
            for key in ("facts", "files", "assets", "dims", "states"):
                self.assertEqual(answer[key], [])
            self.assertEqual([p["layers"] for p in answer["programs"]], [[]])
            for weight in answer["weights"]:
                self.assertEqual(weight["change"], "same")
                self.assertEqual(weight["numbers"]["max_difference"], 0)
                self.assertEqual(weight["numbers"]["cosine"], 1)
            self.assertIn("the same graph",
                          self.succeeds("diff", model, model))

    def test_upcycling_is_one_rewrite_a_layer(self):
        answer = self.json("diff", self.model, self.sparse)
        self.assertFalse(answer["equal"])
        program, = answer["programs"]
        rewrites = {layer["layer"]: layer["rewrite"]
                    for layer in program["layers"] if "rewrite" in layer}
        self.assertEqual(sorted(rewrites), [0, 1])
        for rewrite in rewrites.values():
            self.assertRegex(rewrite, r"^ffn 64 wide -> 4 experts 64 wide, "
                                      r"top-2 softmax-topk-renorm$")
        self.assertEqual(program["removed"], 2)
        added = {weight["name"]: weight for weight in answer["weights"]}
        up = added["layers.1.moe.up"]
        self.assertEqual(up["change"], "added")
        self.assertIn("resample(@layers.1.ffn.up", up["definition"])
        self.assertEqual(len(up["sources"]), 1)
        self.assertIn("model.layers.1.mlp.up_proj.weight", up["sources"][0])
        text = self.succeeds("diff", self.model, self.sparse)
        for layer in (0, 1):
            self.assertRegex(text, rf"layer {layer}: ffn .* -> 4 experts")

    def test_the_way_back_is_a_rewrite_too(self):
        answer = self.json("diff", self.sparse, self.model)
        layers = answer["programs"][0]["layers"]
        self.assertRegex(layers[0]["rewrite"], "^4 experts .* -> ffn 64 wide$")

    def test_only_some_layers(self):
        out = self.path("some.moe")
        self.succeeds("upcycle", self.model, "-o", out, "--layers", "1")
        layers = self.json("diff", self.model, out)["programs"][0]["layers"]
        self.assertEqual([layer["layer"] for layer in layers
                          if "layer" in layer], [1])

    def test_attributes_of_the_router(self):
        out = self.path("other.moe")
        self.succeeds("upcycle", self.model, "-o", out, "--experts", 4,
                      "--init", "drop", "--top-k", 1)
        program, = self.json("diff", self.sparse, out)["programs"]
        self.assertEqual(program["added"] + program["removed"], 0)
        for layer in program["layers"][:2]:
            route = [op for op in layer["ops"] if op["op"] == "moe.route"]
            self.assertIn({"name": "k", "change": "changed", "before": "2",
                           "after": "1"}, route[0]["fields"])

    def test_redefined_weights(self):
        out = self.path("seed.moe")
        self.succeeds("upcycle", self.model, "-o", out, "--experts", 4,
                      "--init", "drop", "--seed", 2)
        answer = self.json("diff", self.sparse, out)
        self.assertEqual(answer["programs"][0]["change"], "same")
        changed = {weight["name"] for weight in answer["weights"]
                   if weight["change"] == "changed"}
        self.assertEqual(changed, {f"layers.{i}.moe.{part}" for i in (0, 1)
                                   for part in ("router", "gate", "up",
                                                "down")})

    def test_numbers_of_experts_beside_the_dense_matrix(self):
        answer = self.json("diff", self.model, self.sparse, "--weights")
        for weight in answer["weights"]:
            if weight["name"] == "layers.0.moe.up":
                self.assertEqual(weight["compared_with"], "layers.0.ffn.up")
                self.assertEqual(len(weight["experts"]), 4)
                for expert in weight["experts"]:
                    # Half of the neurons were redrawn.
                    self.assertAlmostEqual(expert["cosine"], 0.5, delta=0.1)
                break
        else:
            self.fail("layers.0.moe.up was not compared")

    def test_other_numbers_under_the_same_definition(self):
        other = tiny.write_hf(self.path("other"))
        path = os.path.join(other, "model.safetensors")
        with open(path, "r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\x00\x00\x80\x3f")
        answer = self.json("diff", self.model, other, "--weights")
        self.assertFalse(answer["equal"])
        differ = [weight for weight in answer["weights"]
                  if weight["numbers"]["max_difference"]]
        self.assertEqual(len(differ), 1)
        self.assertGreater(differ[0]["numbers"]["max_difference"], 0)

    def test_exit_codes(self):
        self.succeeds("diff", self.model, self.sparse)
        self.fails(["diff", self.model, self.sparse, "--exit-code"],
                   "the models differ")
        self.succeeds("diff", self.model, self.model, "--exit-code")
        self.assertEqual(self.run_moec("diff", self.model).returncode, 2)
        self.fails(["diff", self.model, self.path("none")], "none")

    def test_page(self):
        out = self.path("diff.html")
        self.succeeds("diff", self.model, self.sparse, "--weights", "--html",
                      out)
        page = read_page(self, out)
        classes = [attributes.get("class", "") for _, attributes in page.tags]
        for wanted in ("op add", "op del"):
            self.assertIn(wanted, classes)
        for part in ("layer 0", "layer 1", "4 experts", "resample("):
            self.assertIn(part, page.text)

    def test_page_of_a_hostile_name(self):
        evil = self.path("<svg onload=alert(1)>")
        os.rename(self.model, evil)
        out = self.path("diff.html")
        self.succeeds("diff", evil, evil, "--html", out)
        self.assertIn("<svg onload=alert(1)>", read_page(self, out).text)


class Graphs(harness.MoecTest):
    def setUp(self):
        super().setUp()
        self.model = tiny.write_hf(self.path("model"))
        self.sparse = self.path("sparse.moe")
        self.succeeds("upcycle", self.model, "-o", self.sparse, "--experts", 4,
                      "--shared-experts", 1)

    def test_model_explorer(self):
        for model in (self.model, self.sparse):
            graphs = json.loads(self.succeeds(
                "dump", model, "--format", "model-explorer"))
            self.assertIsInstance(graphs["label"], str)
            for graph in graphs["graphs"]:
                nodes = {node["id"]: node for node in graph["nodes"]}
                self.assertEqual(len(nodes), len(graph["nodes"]))
                for node in graph["nodes"]:
                    self.check_node(node, nodes)

    def check_node(self, node, nodes):
        for attribute in node["attrs"]:
            self.assertIsInstance(attribute["value"], str)
        inputs = [edge["targetNodeInputId"] for edge in node["incomingEdges"]]
        self.assertEqual(len(inputs), len(set(inputs)))
        for edge in node["incomingEdges"]:
            source = nodes[edge["sourceNodeId"]]
            self.assertIn(edge["sourceNodeOutputId"],
                          [port["id"] for port in source["outputsMetadata"]])

    def test_namespaces_are_layers_and_their_parts(self):
        graphs = json.loads(self.succeeds(
            "dump", self.sparse, "--format", "model-explorer"))
        nodes = graphs["graphs"][0]["nodes"]
        spaces = {node["namespace"] for node in nodes}
        for space in ("inputs", "layers/0/attn", "layers/1/moe"):
            self.assertIn(space, spaces)
        for node in nodes:
            if (node["label"].startswith("moe.")
                    and node["namespace"] != "inputs"):
                self.assertRegex(node["namespace"], r"^layers/\d/moe$")

    def test_dot_groups_layers(self):
        text = self.succeeds("dump", self.sparse, "--format", "dot")
        self.assertEqual(text.count("{"), text.count("}"))
        self.assertIn('label="layer 1"', text)
        self.assertIn("@layers.1.moe.up tensor<[4, 64, 32], f32>", text)
        nodes = set(re.findall(r"(?m)^ +(p\d+_\d+) \[label", text))
        for source, target in re.findall(r"(p\d+_\d+) -> (p\d+_\d+)", text):
            self.assertIn(source, nodes)
            self.assertIn(target, nodes)

    def test_json_names_experts(self):
        described = json.loads(self.succeeds(
            "dump", self.sparse, "--format", "json"))
        ops = [op for op in described["programs"][0]["ops"]
               if op["op"] == "moe.experts"]
        self.assertEqual(len(ops), 2)
        self.assertIn("@layers.0.moe.up", ops[0]["operands"])

    def test_unknown_format(self):
        self.fails(["dump", self.model, "--format", "picture"],
                   "'picture'", "model-explorer", code=2)


if __name__ == "__main__":
    unittest.main()
