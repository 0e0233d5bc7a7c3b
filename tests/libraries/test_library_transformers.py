# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""transformers over "pinned": a split Llama is the whole one, the Trainer trains as one process.

The models are small and have random weights.
"""

import pytest
import torch
import torch.distributed as dist
from clients import RATE, assert_close, numbers
from library import WORLDS, Library, assert_pinned

TRANSFORMERS = Library(
    "transformers",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer",
    "transformers.generation.utils",
    "torch._dynamo",
    "deepspeed",
)
pytestmark = TRANSFORMERS.marks
VOCABULARY, TOKENS = 64, 10
ROWS, STEPS = 2, 3


def llama():
    """Returns a Llama that four ranks can split: by heads, columns and vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def tokens(rows=3):
    generator = torch.Generator().manual_seed(4)
    return torch.randint(1, VOCABULARY, (rows, TOKENS), generator=generator)


def by_argument():
    return {"tp_plan": "auto"}


def by_config():
    from transformers.distributed import DistributedConfig

    return {"distributed_config": DistributedConfig(tp_plan="auto")}


def split_llama(folder, how):
    """Returns the whole model, and the one that is split among the ranks."""
    from torch.distributed.tensor import DTensor
    from transformers import AutoModelForCausalLM

    dist.init_process_group("pinned")
    whole = llama().eval()
    whole.save_pretrained(folder)  # the first rank writes
    dist.barrier()
    split = AutoModelForCausalLM.from_pretrained(folder, **how()).eval()
    assert_pinned()
    attention = split.model.layers[0].self_attn
    assert isinstance(attention.q_proj.weight, DTensor)
    assert attention.q_proj.weight.to_local().shape == (32 // dist.get_world_size(), 32)
    return whole, split


def infer(folder, how):
    whole, split = split_llama(folder, how)
    prompt = {"input_ids": tokens(), "attention_mask": torch.ones_like(tokens())}
    with torch.no_grad():
        assert_close([split(**prompt).logits], [whole(**prompt).logits], atol=1e-5)
        written = [
            model.generate(**prompt, max_new_tokens=12, do_sample=False) for model in (split, whole)
        ]
    assert written[0].equal(written[1]) and written[0].shape[1] > TOKENS
    return split(**prompt).logits.detach().numpy()


@pytest.mark.parametrize("how", [by_argument, by_config])
@pytest.mark.parametrize("world", WORLDS)
def test_split_model_infers(world, how, tmp_path):
    results = TRANSFORMERS.run(infer, world, tmp_path, how)
    for logits in results:
        assert_close([logits], [results[0]], 0, 0)


def train_split(folder):
    whole, split = split_llama(folder, by_config)
    for model in (whole, split):
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(input_ids=tokens(), labels=tokens()).loss.backward()
            optimizer.step()
    assert_close(numbers(split.parameters()), numbers(whole.parameters()), 1e-4, 1e-5)
    fresh = [torch.as_tensor(one) for one in numbers(llama().parameters())]
    assert not any(one.equal(other) for one, other in zip(fresh, whole.parameters(), strict=True))


@pytest.mark.parametrize("world", WORLDS)
def test_split_model_trains(world, tmp_path):
    TRANSFORMERS.run(train_split, world, tmp_path)


def trainer(folder, world):
    """All rows are one step's, so their order does not count."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        folder,
        use_cpu=True,
        per_device_train_batch_size=ROWS,
        per_device_eval_batch_size=ROWS,
        num_train_epochs=STEPS,
        optim="sgd",
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    rows = [{"input_ids": row, "labels": row} for row in tokens(ROWS * world)]
    return Trainer(model=llama(), args=arguments, train_dataset=rows, eval_dataset=rows)


def train(folder):
    dist.init_process_group("pinned")
    one = trainer(folder, dist.get_world_size())
    one.train()
    assert_pinned()
    assert isinstance(one.model_wrapped, torch.nn.parallel.DistributedDataParallel)
    assert one.state.global_step == STEPS
    return numbers(one.model.parameters()), one.evaluate()["eval_loss"]


def alone(world):
    """Runs in a rank: the tests' process does not import transformers."""
    model, rows = llama(), tokens(ROWS * world)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(input_ids=rows, labels=rows).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return numbers(model.parameters()), model(input_ids=rows, labels=rows).loss.item()


@pytest.mark.parametrize("world", WORLDS)
def test_trainer(world, tmp_path):
    ((wanted, wanted_loss),) = TRANSFORMERS.run(alone, 1, world)
    for parameters, loss in TRANSFORMERS.run(train, world, tmp_path):
        assert_close(parameters, wanted, 1e-4, 1e-5)
        assert loss == pytest.approx(wanted_loss, rel=1e-4)


def refused(folder):
    from transformers import HfArgumentParser, TrainingArguments

    with pytest.raises(ValueError, match="backend pinned is not available, please use gloo"):
        TrainingArguments(folder, use_cpu=True, ddp_backend="pinned")
    with pytest.raises(SystemExit):
        line = ["--output_dir", str(folder), "--ddp_backend", "pinned"]
        HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(line)


def test_trainer_refuses_the_name_on_cpu(tmp_path):
    """docs/recipes.md says so."""
    TRANSFORMERS.run(refused, 2, tmp_path)
