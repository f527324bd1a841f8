"""A small llama network in plain NumPy: the loss of a batch and its gradients, written out by hand.

MLX's CPU backend multiplies matrices at about 5 GFLOP/s where NumPy's BLAS reaches 80, so that training here takes
minutes instead of hours. Parameters carry their Hugging Face names and layouts; exporting them is a plain copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Parameters: TypeAlias = dict[str, Floats]


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network, named as in the Hugging Face configuration of the llama architecture."""

    vocab_size: int
    hidden_size: int = 128
    intermediate_size: int = 320
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


def initial_parameters(shape: NetworkShape, rng: np.random.Generator) -> Parameters:
    """Return fresh parameters: small normal values, smaller still in the matrices that write to the residual."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    scale = 0.05
    residual_scale = scale / float(np.sqrt(2 * shape.num_hidden_layers))

    def normal(rows: int, columns: int, deviation: float) -> Floats:
        return (rng.standard_normal((rows, columns)) * deviation).astype(np.float32)

    params: Parameters = {"model.embed_tokens.weight": normal(shape.vocab_size, hidden, scale)}
    for index in range(shape.num_hidden_layers):
        at = f"model.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj"):
            params[f"{at}.self_attn.{name}.weight"] = normal(hidden, hidden, scale)
        params[f"{at}.self_attn.o_proj.weight"] = normal(hidden, hidden, residual_scale)
        params[f"{at}.mlp.gate_proj.weight"] = normal(inner, hidden, scale)
        params[f"{at}.mlp.up_proj.weight"] = normal(inner, hidden, scale)
        params[f"{at}.mlp.down_proj.weight"] = normal(hidden, inner, residual_scale)
        params[f"{at}.input_layernorm.weight"] = np.ones(hidden, np.float32)
        params[f"{at}.post_attention_layernorm.weight"] = np.ones(hidden, np.float32)
    params["model.norm.weight"] = np.ones(hidden, np.float32)
    return params


class Network:
    """Forward and backward pass over one batch of right-padded token rows.

    Inside, positions are flat: `N = batch * length` rows of the hidden width.
    """

    def __init__(self, shape: NetworkShape, params: Mapping[str, Floats]) -> None:
        """Bind sizes and parameters; the arrays are read at every call and never changed here."""
        self.shape = shape
        self.params = params

    def logits(self, tokens: Ints) -> Floats:
        """Return the logits at every position, `(batch, length, vocabulary)`, without dropout."""
        run = _Run(self.shape, self.params, tokens, 0.0, None)
        return run.forward(np.ones(tokens.size, bool)).reshape(*tokens.shape, -1)

    def loss(
        self,
        tokens: Ints,
        targets: Ints,
        weights: Floats,
        *,
        total: float,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, Parameters]:
        """Return the weighted cross entropy divided by `total`, and the gradient of every parameter.

        `tokens`, `targets` and `weights` have the shape `(batch, length)`; a weight of zero leaves a position out.
        `total` is the sum of the weights of the whole step, of which this batch may be one part.
        Dropout acts on the embeddings and on both branches of each layer; it needs `rng`.
        """
        keep = (weights > 0).ravel()
        chosen, weight = targets.ravel()[keep], weights.ravel()[keep]
        rows = np.arange(len(chosen))
        run = _Run(self.shape, self.params, tokens, dropout, rng)
        scores = run.forward(keep)
        scores -= scores.max(axis=-1, keepdims=True)
        wanted = scores[rows, chosen]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=-1)
        value = float(((np.log(sums) - wanted) * weight).sum() / total)
        scores /= sums[:, None]
        scores[rows, chosen] -= 1.0
        scores *= (weight / np.float32(total))[:, None]
        return value, run.backward(scores)


@dataclass
class _LayerRecord:
    """What one layer's backward pass needs from its forward pass."""

    before: Floats
    attention_scale: Floats
    attention_input: Floats
    queries: Floats
    keys: Floats
    values: Floats
    attention: Floats
    mixed: Floats
    attention_drop: Floats | None
    middle: Floats
    mlp_scale: Floats
    mlp_input: Floats
    gate: Floats
    sigmoid: Floats
    up: Floats
    mlp_drop: Floats | None


class _Run:
    """One forward pass and, at most once, its backward pass."""

    def __init__(
        self,
        shape: NetworkShape,
        params: Mapping[str, Floats],
        tokens: Ints,
        dropout: float,
        rng: np.random.Generator | None,
    ) -> None:
        self.shape, self.params, self.tokens = shape, params, tokens
        self.dropout, self.rng = dropout, rng
        self.batch, self.length = tokens.shape
        half = shape.head_size // 2
        frequency = shape.rope_theta ** (-np.arange(half, dtype=np.float64) / half)
        angle = np.arange(self.length)[:, None] * frequency
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        self.future = np.triu(np.full((self.length, self.length), -1e9, np.float32), 1)
        self.records: list[_LayerRecord] = []

    def forward(self, keep: Mask) -> Floats:
        self.keep = keep
        x = self.params["model.embed_tokens.weight"][self.tokens.ravel()]
        self.embedding_drop = self._drop(x.shape)
        if self.embedding_drop is not None:
            x = x * self.embedding_drop
        for index in range(self.shape.num_hidden_layers):
            x = self._layer(f"model.layers.{index}", x)
        self.last = x[keep]
        self.normed, self.last_scale = self._norm(self.last, "model.norm.weight")
        return self.normed @ self.params["model.embed_tokens.weight"].T

    def backward(self, dscores: Floats) -> Parameters:
        self.grads: Parameters = {}
        embedding = self.params["model.embed_tokens.weight"]
        dembedding = dscores.T @ self.normed
        dlast = self._norm_back(dscores @ embedding, self.last, self.last_scale, "model.norm.weight")
        dx = np.zeros((self.tokens.size, self.shape.hidden_size), np.float32)
        dx[self.keep] = dlast
        for index in reversed(range(self.shape.num_hidden_layers)):
            dx = self._layer_back(f"model.layers.{index}", self.records[index], dx)
        if self.embedding_drop is not None:
            dx *= self.embedding_drop
        np.add.at(dembedding, self.tokens.ravel(), dx)
        self.grads["model.embed_tokens.weight"] = dembedding
        return self.grads

    def _layer(self, at: str, x: Floats) -> Floats:
        before = x
        attention_input, attention_scale = self._norm(x, f"{at}.input_layernorm.weight")
        queries = self._rotate(self._heads(self._linear(attention_input, f"{at}.self_attn.q_proj.weight")))
        keys = self._rotate(self._heads(self._linear(attention_input, f"{at}.self_attn.k_proj.weight")))
        values = self._heads(self._linear(attention_input, f"{at}.self_attn.v_proj.weight"))
        attention: Floats = queries @ keys.transpose(0, 1, 3, 2)
        attention *= np.float32(self.shape.head_size**-0.5)
        attention += self.future
        attention -= attention.max(axis=-1, keepdims=True)
        np.exp(attention, out=attention)
        attention /= attention.sum(axis=-1, keepdims=True)
        mixed = self._flat(attention @ values)
        branch = self._linear(mixed, f"{at}.self_attn.o_proj.weight")
        attention_drop = self._drop(branch.shape)
        middle = before + (branch if attention_drop is None else branch * attention_drop)

        mlp_input, mlp_scale = self._norm(middle, f"{at}.post_attention_layernorm.weight")
        gate = self._linear(mlp_input, f"{at}.mlp.gate_proj.weight")
        up = self._linear(mlp_input, f"{at}.mlp.up_proj.weight")
        sigmoid: Floats = np.reciprocal(1.0 + np.exp(-gate))
        branch = self._linear(gate * sigmoid * up, f"{at}.mlp.down_proj.weight")
        mlp_drop = self._drop(branch.shape)
        self.records.append(
            _LayerRecord(
                before,
                attention_scale,
                attention_input,
                queries,
                keys,
                values,
                attention,
                mixed,
                attention_drop,
                middle,
                mlp_scale,
                mlp_input,
                gate,
                sigmoid,
                up,
                mlp_drop,
            )
        )
        return middle + (branch if mlp_drop is None else branch * mlp_drop)

    def _layer_back(self, at: str, saved: _LayerRecord, dout: Floats) -> Floats:
        dbranch = dout if saved.mlp_drop is None else dout * saved.mlp_drop
        silu = saved.gate * saved.sigmoid
        dinner = self._linear_back(dbranch, silu * saved.up, f"{at}.mlp.down_proj.weight")
        dgate = dinner * saved.up * (saved.sigmoid + silu * (1.0 - saved.sigmoid))
        dmlp = self._linear_back(dgate, saved.mlp_input, f"{at}.mlp.gate_proj.weight")
        dmlp += self._linear_back(dinner * silu, saved.mlp_input, f"{at}.mlp.up_proj.weight")
        norm = f"{at}.post_attention_layernorm.weight"
        dmiddle = dout + self._norm_back(dmlp, saved.middle, saved.mlp_scale, norm)

        dbranch = dmiddle if saved.attention_drop is None else dmiddle * saved.attention_drop
        dmixed = self._heads(self._linear_back(dbranch, saved.mixed, f"{at}.self_attn.o_proj.weight"))
        dvalues = self._flat(saved.attention.transpose(0, 1, 3, 2) @ dmixed)
        dattention: Floats = dmixed @ saved.values.transpose(0, 1, 3, 2)
        dattention -= (dattention * saved.attention).sum(axis=-1, keepdims=True)
        dattention *= saved.attention
        dattention *= np.float32(self.shape.head_size**-0.5)
        dqueries = self._flat(self._rotate(dattention @ saved.keys, backward=True))
        dkeys = self._flat(self._rotate(dattention.transpose(0, 1, 3, 2) @ saved.queries, backward=True))
        dinput = self._linear_back(dqueries, saved.attention_input, f"{at}.self_attn.q_proj.weight")
        dinput += self._linear_back(dkeys, saved.attention_input, f"{at}.self_attn.k_proj.weight")
        dinput += self._linear_back(dvalues, saved.attention_input, f"{at}.self_attn.v_proj.weight")
        norm = f"{at}.input_layernorm.weight"
        return dmiddle + self._norm_back(dinput, saved.before, saved.attention_scale, norm)

    def _linear(self, x: Floats, name: str) -> Floats:
        return x @ self.params[name].T

    def _linear_back(self, dy: Floats, x: Floats, name: str) -> Floats:
        self.grads[name] = dy.T @ x
        return dy @ self.params[name]

    def _norm(self, x: Floats, name: str) -> tuple[Floats, Floats]:
        mean_square = np.einsum("nd,nd->n", x, x)[:, None] / np.float32(x.shape[-1])
        scale = 1.0 / np.sqrt(mean_square + np.float32(self.shape.rms_norm_eps))
        return x * scale * self.params[name], scale

    def _norm_back(self, dy: Floats, x: Floats, scale: Floats, name: str) -> Floats:
        self.grads[name] = np.einsum("nd,nd->d", dy, x * scale)
        dhat = dy * self.params[name]
        mean = np.einsum("nd,nd->n", dhat, x)[:, None] / np.float32(x.shape[-1])
        dx: Floats = scale * dhat - x * (scale**3 * mean)
        return dx

    def _rotate(self, x: Floats, *, backward: bool = False) -> Floats:
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        sin = -self.sin if backward else self.sin
        return np.concatenate([first * self.cos - second * sin, first * sin + second * self.cos], axis=-1)

    def _heads(self, x: Floats) -> Floats:
        split = x.reshape(self.batch, self.length, self.shape.num_attention_heads, self.shape.head_size)
        return np.ascontiguousarray(split.transpose(0, 2, 1, 3))

    def _flat(self, x: Floats) -> Floats:
        return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(self.batch * self.length, self.shape.hidden_size)

    def _drop(self, size: tuple[int, ...]) -> Floats | None:
        if self.dropout == 0.0 or self.rng is None:
            return None
        kept = self.rng.random(size, dtype=np.float32) >= self.dropout
        return kept.astype(np.float32) / np.float32(1.0 - self.dropout)
