"""Section 4.6: the GPT model, its state dicts, and weight tying."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import GPT_CONFIG_124M, GPTConfig, GPTModel, count_parameters

IDS = torch.tensor([[5, 0, 52, 5, 7], [7, 7, 1, 2, 30]])


@pytest.fixture
def model(small_config, randomize):
    return randomize(GPTModel(small_config)).eval()


@pytest.fixture
def tied(small_config, randomize):
    model = randomize(GPTModel(small_config)).eval()
    model.tie_weights()
    return model


def saved_and_loaded(thing):
    """Send something through torch.save and torch.load."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=not isinstance(thing, nn.Module))


# The model


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 4, 7])
def test_equal_to_the_model_spelled_out(
    small_config, randomize, plain, qkv_bias, num_tokens
):
    """The plain version's state dict, with its masks, loads without a complaint."""
    cfg = {**small_config, "qkv_bias": qkv_bias}
    spelled_out = randomize(plain.Model(cfg))
    model = GPTModel(cfg).double()
    model.load_state_dict(spelled_out.state_dict())
    ids = torch.tensor([[5, 0, 52, 5, 7, 9, 1], [7, 7, 1, 2, 30, 0, 2]])[:, :num_tokens]
    torch.testing.assert_close(model(ids), spelled_out(ids), rtol=1e-10, atol=1e-10)


def test_published_shape(model_124m):
    ids = torch.tensor([[6109, 3626, 6100, 345], [6109, 1110, 6622, 257]])
    with torch.no_grad():
        assert model_124m(ids).shape == (2, 4, 50257)


def test_order_of_creation(small_config):
    """It decides which seeded number each weight gets."""
    torch.manual_seed(123)
    model = GPTModel(small_config)
    torch.manual_seed(123)
    expected = {"tok_emb": nn.Embedding(53, 12), "pos_emb": nn.Embedding(7, 12)}
    for block in ("trf_blocks.0", "trf_blocks.1"):
        for layer in ("W_query", "W_key", "W_value"):
            expected[f"{block}.att.{layer}"] = nn.Linear(12, 12, bias=False)
        expected[f"{block}.att.out_proj"] = nn.Linear(12, 12)
        expected[f"{block}.ff.layers.0"] = nn.Linear(12, 48)
        expected[f"{block}.ff.layers.2"] = nn.Linear(48, 12)
    expected["out_head"] = nn.Linear(12, 53, bias=False)
    for name, layer_expected in expected.items():
        layer = model.get_submodule(name)
        for parameter, parameter_expected in layer_expected.named_parameters():
            assert torch.equal(layer.get_parameter(parameter), parameter_expected), name


def test_parts_have_the_known_names(small_config):
    model = GPTModel({**small_config, "drop_rate": 0.3})
    names = "tok_emb pos_emb drop_emb trf_blocks final_norm out_head".split()
    assert [name for name, _ in model.named_children()] == names
    assert model.drop_emb.p == 0.3
    assert model.out_head.bias is None
    assert len(model.trf_blocks) == len(set(model.trf_blocks)) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 163_009_536),
        ({"qkv_bias": True}, 163_037_184),
        ({"n_layers": 11}, 155_923_968),
    ],
)
def test_published_number_of_parameters(change, expected):
    with torch.device("meta"):
        model = GPTModel({**GPT_CONFIG_124M, **change})
    assert count_parameters(model) == expected


def test_published_number_of_parameters_when_tied():
    with torch.device("meta"):
        model = GPTModel(GPT_CONFIG_124M)
    model.tie_weights()
    assert count_parameters(model) == 124_412_160


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_a_token_moves_no_logits_before_it(randomize, cfg, data):
    """Nor those of another text of the batch, but its own."""
    cfg = {**cfg, "emb_dim": 4 * cfg["emb_dim"]}
    model = randomize(GPTModel(cfg)).eval()
    num_tokens = data.draw(st.integers(1, cfg["context_length"]))
    token_ids = st.integers(0, cfg["vocab_size"] - 1)
    texts = st.lists(token_ids, min_size=num_tokens, max_size=num_tokens)
    ids = torch.tensor([data.draw(texts), data.draw(texts)])
    b, t = data.draw(st.integers(0, 1)), data.draw(st.integers(0, num_tokens - 1))
    changed = ids.clone()
    changed[b, t] = (ids[b, t] + data.draw(st.integers(1, cfg["vocab_size"] - 1))) % (
        cfg["vocab_size"]
    )
    moved = (model(ids) - model(changed)).abs().amax(dim=-1) > 1e-9  # (2, T)
    assert not moved[1 - b].any()
    assert not moved[b, :t].any()
    assert moved[b, t]


def test_all_later_logits_are_moved(model):
    changed = IDS.clone()
    changed[0, 0] = 6
    assert ((model(IDS) - model(changed))[0].abs().amax(dim=-1) > 1e-6).all()


@given(st.permutations(range(4)))
def test_order_of_the_batch_does_not_matter(small_config, randomize, order):
    model = randomize(GPTModel(small_config)).eval()
    ids = torch.arange(20).view(4, 5)
    torch.testing.assert_close(model(ids)[order], model(ids[order]))
    for b in range(4):
        torch.testing.assert_close(model(ids[b : b + 1])[0], model(ids)[b])


def test_position_matters(model):
    """The same token everywhere still gives other logits at each position."""
    logits = model(torch.full((1, 7), 3))[0]
    distances = torch.cdist(logits, logits) + torch.eye(7)
    assert distances.min() > 1e-3


def test_dropout_only_in_training(small_config):
    torch.manual_seed(123)
    model = GPTModel({**small_config, "drop_rate": 0.5})
    assert not torch.equal(model(IDS), model(IDS))
    model.eval()
    assert torch.equal(model(IDS), model(IDS))


def test_dropout_of_the_embeddings(small_config):
    """With rate 0.5, half of what enters the first block is 0, the rest twice as much.

    Within a tolerance: other machines draw other masks.
    """
    cfg = {**small_config, "emb_dim": 300, "drop_rate": 0.5}
    torch.manual_seed(123)
    model = GPTModel(cfg)
    seen = []
    model.trf_blocks.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(IDS)
    model.eval()(IDS)
    dropped, whole = seen
    kept = dropped != 0
    assert 0.4 < kept.double().mean() < 0.6
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])


def test_gradients_reach_every_parameter(model):
    model(IDS).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logits_have_the_parameters_type(small_config, dtype):
    logits = GPTModel(small_config).to(dtype)(IDS)
    assert (logits.dtype, logits.shape) == (dtype, (2, 5, 53))


@pytest.mark.parametrize("cfg", [None, GPT_CONFIG_124M], ids=["small", "124M"])
def test_meta_device(small_config, cfg):
    cfg = cfg or small_config
    with torch.device("meta"):
        model = GPTModel(cfg)
        ids = torch.ones(2, cfg["context_length"], dtype=torch.int64)
    logits = model(ids)
    assert logits.is_meta
    assert logits.shape == (2, cfg["context_length"], cfg["vocab_size"])


def test_compiles_to_one_graph(model, compiled):
    graph = compiled(model)
    for num_tokens in (1, 5):
        ids = IDS[:, :num_tokens]
        torch.testing.assert_close(graph(ids), model(ids), rtol=0, atol=0)


# State dicts


def test_state_dict_with_masks(small_config, plain):
    state_dict = plain.Model(small_config).state_dict()
    assert sum(name.endswith(".att.mask") for name in state_dict) == 2
    names = list(state_dict)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = GPTModel(small_config).load_state_dict(state_dict, strict=True)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert list(state_dict) == names


def test_state_dict_has_no_mask(model, plain, small_config):
    expected = plain.Model(small_config).state_dict()
    assert list(model.state_dict()) == [
        name for name in expected if not name.endswith("mask")
    ]


@pytest.mark.parametrize(
    "name", ["mask", "trf_blocks.0.mask", "trf_blocks.2.att.mask", "out_head.bias"]
)
def test_any_other_surplus_name_is_an_error(model, name):
    state_dict = {**model.state_dict(), name: torch.ones(1)}
    with pytest.raises(RuntimeError, match=f'Unexpected key.*"{name}"'):
        model.load_state_dict(state_dict)
    result = model.load_state_dict(state_dict, strict=False)
    assert result.unexpected_keys == [name]


@pytest.mark.parametrize(
    "name", ["tok_emb.weight", "out_head.weight", "pos_emb.weight"]
)
def test_missing_name_is_an_error(model, name):
    state_dict = model.state_dict()
    del state_dict[name]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{name}"'):
        model.load_state_dict(state_dict)
    assert model.load_state_dict(state_dict, strict=False).missing_keys == [name]


@pytest.mark.parametrize("assign", [False, True])
def test_weights_saved_and_loaded(model, small_config, assign):
    fresh = GPTModel(small_config).double()
    fresh.load_state_dict(saved_and_loaded(model.state_dict()), assign=assign)
    assert torch.equal(fresh(IDS), model(IDS))
    assert not fresh.is_tied


@pytest.mark.parametrize("assign", [False, True])
def test_assign_takes_the_tensors_themselves(model, small_config, assign):
    fresh = GPTModel(small_config).double()
    state_dict = model.state_dict()
    fresh.load_state_dict(state_dict, assign=assign)
    for name, parameter in fresh.named_parameters():
        same = parameter.data_ptr() == state_dict[name].data_ptr()
        assert same == assign, name


@pytest.mark.parametrize("tie", [False, True])
def test_weights_assigned_to_a_model_on_the_meta_device(model, small_config, tie):
    """The model is then where the weights are, and tied if they were."""
    if tie:
        model.tie_weights()
    with torch.device("meta"):
        empty = GPTModel(small_config)
    empty.load_state_dict(saved_and_loaded(model.state_dict()), assign=True)
    assert torch.equal(empty.eval()(IDS), model(IDS))
    assert empty.is_tied == tie


# Weight tying


def test_not_tied_at_first(model):
    assert not model.is_tied
    assert count_parameters(model) == 4_440 + 53 * 12


def test_tied_logits_are_products_with_the_embeddings(tied):
    assert tied.is_tied
    seen = []
    tied.final_norm.register_forward_hook(lambda *args: seen.append(args[-1]))
    logits = tied(IDS)
    torch.testing.assert_close(logits, seen[0] @ tied.tok_emb.weight.T)


def test_tying_keeps_the_embeddings_matrix(model):
    embedding, num_parameters = model.tok_emb.weight, count_parameters(model)
    for _ in range(2):
        model.tie_weights()
        assert model.out_head.weight is model.tok_emb.weight is embedding
        assert count_parameters(model) == num_parameters - 53 * 12


def test_equal_matrices_are_not_tied(model):
    model.out_head.weight.data.copy_(model.tok_emb.weight)
    assert not model.is_tied


MOVES = {
    "dtype": lambda model: model.to(torch.bfloat16),
    "half": lambda model: model.half(),
    "meta": lambda model: model.to("meta"),
    "to_empty": lambda model: model.to("meta").to_empty(device="cpu"),
    "in a container": lambda model: nn.Sequential(model).to("meta")[0],
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved_and_loaded,
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_moves_keep_tied_weights_tied(tied, move):
    num_parameters = count_parameters(tied)
    moved = move(tied)
    assert moved.is_tied
    assert count_parameters(moved) == num_parameters


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_moves_tie_nothing(model, move):
    num_parameters = count_parameters(model)
    moved = move(model)
    assert not moved.is_tied
    assert count_parameters(moved) == num_parameters


def test_move_by_new_parameters_keeps_tied_weights_tied(tied):
    """As PyTorch does it when asked to, and one day perhaps always."""
    before = tied.tok_emb.weight
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        tied.float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    assert tied.tok_emb.weight is not before
    assert tied.is_tied


def test_a_move_without_the_parts_moves_nothing(tied):
    """The model itself holds no parameter; all are its parts'."""
    tied.to_empty(device="meta", recurse=False)
    assert not any(parameter.is_meta for parameter in tied.parameters())


def test_copies_are_independent(tied):
    logits = tied(IDS)
    duplicate = copy.deepcopy(tied)
    assert torch.equal(duplicate(IDS), logits)
    nn.init.zeros_(duplicate.tok_emb.weight)
    assert torch.equal(tied(IDS), logits)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("into_tied", [False, True])
def test_tied_state_dict_makes_a_tied_model(tied, small_config, into_tied, assign):
    fresh = GPTModel(small_config).double()
    if into_tied:
        fresh.tie_weights()
    result = fresh.load_state_dict(saved_and_loaded(tied.state_dict()), assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert fresh.is_tied
    assert torch.equal(fresh(IDS), tied(IDS))
    assert fresh.tok_emb.weight is not tied.tok_emb.weight


@pytest.mark.parametrize("assign", [False, True])
def test_tied_model_needs_one_of_the_two_matrices(tied, small_config, assign):
    """The output layer's may be left out; the caller's state dict stays as it is."""
    state_dict = saved_and_loaded(tied.state_dict())
    del state_dict["out_head.weight"]
    names = list(state_dict)
    fresh = GPTModel(small_config).double()
    fresh.tie_weights()
    result = fresh.load_state_dict(state_dict, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert list(state_dict) == names
    assert fresh.is_tied
    assert torch.equal(fresh(IDS), tied(IDS))


def test_tied_model_needs_the_embeddings_matrix(tied):
    state_dict = tied.state_dict()
    del state_dict["tok_emb.weight"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"tok_emb\.weight"'):
        tied.load_state_dict(state_dict)


@pytest.mark.parametrize("assign", [False, True])
def test_equal_matrices_fit_a_tied_model_and_tie_no_other(tied, small_config, assign):
    """Stored twice, as some file formats do it."""
    state_dict = {name: value.clone() for name, value in tied.state_dict().items()}
    for into_tied in (True, False):
        fresh = GPTModel(small_config).double()
        if into_tied:
            fresh.tie_weights()
        fresh.load_state_dict(state_dict, assign=assign)
        assert fresh.is_tied == into_tied
        assert torch.equal(fresh(IDS), tied(IDS))


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_different_matrices_do_not_fit_a_tied_model(
    tied, small_config, randomize, strict, assign
):
    """Nothing is loaded then."""
    before = tied(IDS)
    state_dict = randomize(GPTModel(small_config), seed=1).state_dict()
    message = (
        r"^the model is tied, but the state dict holds different matrices as "
        r"tok_emb\.weight and out_head\.weight; load it into a model that is not tied$"
    )
    with pytest.raises(ValueError, match=message):
        tied.load_state_dict(state_dict, strict=strict, assign=assign)
    assert tied.is_tied
    assert torch.equal(tied(IDS), before)


def test_optimizer_sees_the_tied_matrix_once(tied):
    optimizer = torch.optim.AdamW(tied.parameters())
    (group,) = optimizer.param_groups
    assert sum(parameter.numel() for parameter in group["params"]) == 4_440
    before = tied.tok_emb.weight.clone()
    tied(IDS).square().sum().backward()
    optimizer.step()
    assert tied.is_tied
    assert (tied.tok_emb.weight - before).abs().min() > 0


def test_gradient_of_the_tied_matrix_is_the_sum_of_its_two_uses(tied):
    untied = copy.deepcopy(tied)
    untied.out_head.weight = nn.Parameter(tied.tok_emb.weight.detach().clone())
    for model in (tied, untied):
        model(IDS).square().sum().backward()
    torch.testing.assert_close(
        tied.tok_emb.weight.grad,
        untied.tok_emb.weight.grad + untied.out_head.weight.grad,
    )


@pytest.mark.parametrize("assign", [False, True])
def test_tied_model_inside_another_stays_tied(tied, assign):
    """PyTorch loads a part without the part's own ``load_state_dict``."""
    whole = nn.ModuleDict({"gpt": tied})
    state_dict = saved_and_loaded(whole.state_dict())
    del state_dict["gpt.out_head.weight"]
    result = whole.load_state_dict(state_dict, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert tied.is_tied


def test_tied_model_takes_back_its_own_nan(tied):
    """NaN differs from itself: a model that diverged could not be loaded."""
    with torch.no_grad():
        tied.tok_emb.weight[0, 0] = float("nan")
    tied.load_state_dict(tied.state_dict())
    assert tied.is_tied


def test_tied_model_loads_on_the_meta_device(tied):
    tied.to("meta")
    tied.load_state_dict(tied.state_dict(), assign=True)
    assert tied.is_tied


def test_copy_loads_into_itself(tied, model):
    """The copy's loading must not reach back to the original."""
    duplicate = copy.deepcopy(model)
    duplicate.load_state_dict(tied.state_dict())
    assert (duplicate.is_tied, model.is_tied) == (True, False)


def test_failed_load_ties_nothing(model, small_config):
    """A tied state dict of another size must not cost the model its own matrix."""
    other = GPTModel({**small_config, "vocab_size": 60}).double()
    other.tie_weights()
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(other.state_dict())
    assert not model.is_tied


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_of_each_sample(model):
    """``torch.vmap`` does not let the ids be looked at, and needs no look."""
    parameters = dict(model.named_parameters())

    def loss(values, ids):
        logits = torch.func.functional_call(model, values, (ids.unsqueeze(0),))
        return logits.square().mean()

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, IDS)
    for row, ids in enumerate(IDS):
        alone = torch.func.grad(loss)(parameters, ids)
        for name, gradient in alone.items():
            torch.testing.assert_close(each[name][row], gradient)
