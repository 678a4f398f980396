"""What Transformers makes of model folders: logits, the likeliest next token, and its tokenizer's ids. Usage: a JSON list of questions."""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def answer(question):
    model = AutoModelForCausalLM.from_pretrained(question["folder"], dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([question["ids"]])).logits[0]
    found = {
        "logits": logits.flatten().tolist(),
        "next": int(logits[-1].argmax()),
        "layers": model.config.num_hidden_layers,
    }
    if question["texts"]:
        tokenizer = AutoTokenizer.from_pretrained(question["folder"])
        found["encoded"] = [tokenizer(text)["input_ids"] for text in question["texts"]]
        found["template"] = tokenizer.chat_template
    return found


print(json.dumps([answer(question) for question in json.loads(sys.argv[1])]))
