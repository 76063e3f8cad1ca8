"""Every architecture that transformers can build from a configuration, in a few kilobytes."""

import inspect
from typing import Any

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["<eos>", "<pad>", "<bos>", *LETTERS, *(f"{one}{one}" for one in LETTERS)]
POSITIONS = 64
"""Tokens that the tiny models have places for."""
WINDOW = 8
"""Of attention that is local."""

SIZES: dict[str, Any] = {
    "initializer_range": 0.15, "init_std": 0.15, "initializer_factor": 5.0, "num_labels": 3,
    "vocab_size": len(WORDS), "vocab_size_per_layer_input": len(WORDS),
    "bos_token_id": 2, "eos_token_id": 0, "pad_token_id": 1, "sep_token_id": 0, "cls_token_id": 2,
    "decoder_start_token_id": 2,
    # Places.
    "max_position_embeddings": POSITIONS, "n_positions": POSITIONS, "n_ctx": POSITIONS,
    "max_seq_len": POSITIONS, "model_max_length": POSITIONS, "context_length": POSITIONS,
    "max_target_positions": POSITIONS, "max_source_positions": POSITIONS,
    # Windows.
    "sliding_window": WINDOW, "sliding_window_size": WINDOW, "window_size": WINDOW,
    "attention_window_size": WINDOW, "attention_window": WINDOW, "local_attention": WINDOW,
    "attention_chunk_size": WINDOW, "max_window_layers": 1,
    # Widths.
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "emb_dim": 32, "embedding_size": 32, "dim": 32,
    "embedding_dim": 32, "word_embed_proj_dim": 32, "attention_hidden_size": 32, "lru_width": 32,
    "mamba_d_ssm": 64, "d_inner": 64, "intermediate_size": 64, "ffn_dim": 64, "d_ff": 64,
    "n_inner": 64, "hidden_dim": 64, "feed_forward_size": 64, "ffn_hidden_size": 64, "dff": 64,
    "decoder_ffn_dim": 64, "encoder_ffn_dim": 64, "moe_intermediate_size": 16, "dim_ff": 64,
    "shared_expert_intermediate_size": 16, "shared_intermediate_size": 16, "true_hidden_size": 32,
    "intermediate_size_mlp": 64, "expert_ffn_hidden_size": 16, "dense_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 16, "intra_bottleneck_size": 16,
    "hidden_size_per_layer_input": 8, "entity_vocab_size": 4, "entity_emb_size": 8,
    # Depths.
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "decoder_layers": 2,
    "encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_layers": 2,
    "attn_layers": ["local", "lsh"], "attention_types": [[["global", "local"], 1]],
    "first_k_dense_replace": 1, "num_nextn_predict_layers": 0, "num_kv_shared_layers": 0,
    # Heads.
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4, "attention_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2,
    "head_dim": 8, "attention_head_dim": 8, "attention_head_size": 8, "d_head": 8, "d_kv": 8,
    "kv_channels": 8, "rotary_dim": 4, "dim_head": 8, "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2, "swa_head_dim": 8, "num_query_groups": 2,
    "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4,
    # Latent attention.
    "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8, "qk_head_dim": 16,
    "kv_lora_rank": 8, "q_lora_rank": 8, "index_head_dim": 16, "index_n_heads": 2, "index_topk": 64,
    # Experts.
    "num_experts": 4, "n_routed_experts": 4, "num_local_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_topk": 2, "num_experts_per_token": 2, "moe_k": 2,
    "topk_group": 1,
    "n_group": 1, "n_shared_experts": 1, "num_shared_experts": 1, "moe_num_shared_experts": 1,
    # Recurrent layers.
    "state_size": 8, "mamba_d_state": 8, "ssm_state_size": 8, "mamba_d_conv": 4,
    "time_step_rank": 2,
    "mamba_dt_rank": 2, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_num_heads": 8,
    "mamba_head_dim": 8, "n_mamba_heads": 2, "mamba_n_groups": 1, "n_groups": 1,
    "mamba_ngroups": 1, "mamba_headdim": 8, "mamba_chunk_size": 8, "chunk_size": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "linear_head_dim": 8, "linear_num_heads": 2,
}  # fmt: skip
"""Size fields of configurations → the tiny value."""

ABSENT = ("vocab_size", "head_dim", "num_key_value_heads", "num_attention_heads")
"""Set even where the configuration leaves them open."""

BY_MODEL: dict[str, dict[str, Any]] = {
    "t5": {"decoder_start_token_id": 2},
    "mobilebert": {"intra_bottleneck_size": 32},
    "deepseek_v2": {"topk_group": 1, "n_group": 1, "num_experts_per_tok": 2},
    "roc_bert": {"pronunciation_vocab_size": 60, "shape_vocab_size": 60},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "esmc": {"num_key_value_heads": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "zaya": {"num_experts_per_tok": 1},
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 4},
    "reformer": {
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "is_decoder": True,
        "lsh_attn_chunk_length": 8,
        "local_attn_chunk_length": 8,
    },
    "xmod": {"default_language": "en_XX"},
    "mistral4": {"num_key_value_heads": 4},
    "gemma3n_text": {"intermediate_size": [64, 64]},
}
"""What single configurations need besides."""


def tiny_config(model_type: str, **changes: Any) -> Any:
    """The configuration of an architecture with small sizes."""
    kind = CONFIG_MAPPING[model_type]
    settings = _shrunk(kind(), kind)
    return kind(**{**settings, **BY_MODEL.get(model_type, {}), **changes})


def _shrunk(full: Any, kind: Any) -> dict[str, Any]:
    """Arguments of `kind` that make `full` small."""
    known = set(full.to_dict()) | set(full.attribute_map) | set(inspect.signature(kind).parameters)
    settings: dict[str, Any] = {}
    for name in known:
        held = getattr(full, name, None)
        if isinstance(held, PreTrainedConfig):
            settings[name] = {**_shrunk(held, type(held))}
            continue
        fixed = getattr(type(full), name, None)
        if name in full.attribute_map or (isinstance(fixed, property) and fixed.fset is None):
            continue
        if name in SIZES and (held is not None or name.endswith("_token_id") or name in ABSENT):
            wrap = isinstance(held, list) and not isinstance(SIZES[name], list)
            settings[name] = [SIZES[name]] if wrap else SIZES[name]
        if name.endswith("layer_types") or name in ("layers_block_type",):
            held = held or []
            different = list(dict.fromkeys(held))
            settings[name] = (different + different)[-2:] if different else None
    # Latent attention has keys for every head.
    if "kv_lora_rank" in settings or "qk_nope_head_dim" in settings:
        settings["num_key_value_heads"] = SIZES["num_attention_heads"]
    return settings


def build(model_type: str, class_name: str, **changes: Any) -> Any:
    """The model of that class with small random weights, in evaluation mode."""
    config = tiny_config(model_type, **changes)
    with torch.device("meta"):
        sketch = getattr(transformers, class_name)(config)
    size = sum(weight.numel() for weight in sketch.parameters())
    if size > 2_000_000:
        raise ValueError(f"{size:,} parameters")
    torch.manual_seed(0)
    return getattr(transformers, class_name)(config).eval()


NOT_TINY: dict[str, str] = {
    **dict.fromkeys(
        [
            "blt",
            "got_ocr2",
            "phi4_multimodal",
            "markuplm",
            "perceiver",
        ],
        "some of its tables stay large",
    ),
    **dict.fromkeys(
        [
            "musicgen",
            "musicgen_melody",
            "llama4",
            "emu3",
            "qwen3_5",
            "qwen3_5_moe",
            "qwen4_exp",
            "gemma3n",
            "gemma4",
            "gemma4_unified",
            "mllama",
            "dots3_note",
        ],
        "built from its text part's own configuration, or not as a causal model",
    ),
    **dict.fromkeys(
        [
            "dots3_note_text",
            "gemma4_text",
            "gemma4_unified_text",
            "gemma4_assistant",
            "gemma4_unified_assistant",
        ],
        "its sizes differ from layer to layer",
    ),
    **dict.fromkeys(
        [
            "bamba",
            "recurrent_gemma",
            "bailing_hybrid",
            "zamba",
            "zamba2",
            "xlstm",
            "qwen4_exp_text",
        ],
        "its kinds of layers depend on more sizes than these tests set",
    ),
    **dict.fromkeys(
        [
            "cohere_compass_text",
            "dbrx",
            "dots1",
            "layoutlmv3",
            "mistral4",
        ],
        "its configuration cannot be shrunk by its size fields alone",
    ),
    "layoutlmv2": "needs detectron2",
    "funnel": "its plain forward fails on texts of four tokens",
}
"""Architectures that cannot be built here → why."""


def causal() -> list[Any]:
    """(type, class) of every causal language model of transformers."""
    return _named(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def classifiers() -> list[Any]:
    """(type, class) of every sequence classifier of transformers."""
    return _named(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def _named(mapping: dict[str, str]) -> list[Any]:
    return [pytest.param(kind, name, id=kind) for kind, name in mapping.items()]
