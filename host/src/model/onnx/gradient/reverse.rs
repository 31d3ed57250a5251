//! Reverse mode, from graph to graph.
//!
//! Nodes are visited from the output back. Each has the derivative of the output with
//! respect to its own output, and its rule says what this makes of its inputs'. Where a
//! value is used more than once, derivatives add up.

use std::collections::{HashMap, HashSet};

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::identity::Identity;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

use super::{
    axes, binary, convolution, copies, dense, elementwise, lrn, max_pool, reduce, softmax, sum_pool,
};

/// What an operator's rule makes of the derivative of its output: the derivative of some of
/// its inputs, each by the input's place. `None`: this rule is for other operators.
pub(super) type Pulled = TractResult<Option<TVec<(usize, OutletId)>>>;

/// A rule that knows the derivatives of some operators.
type Rule = fn(&mut Step<'_>) -> Pulled;

const RULES: [Rule; 12] = [
    convolution::rule,
    max_pool::rule,
    lrn::rule,
    dense::rule,
    elementwise::rule,
    binary::rule,
    axes::rule,
    copies::rule,
    reduce::rule,
    softmax::rule,
    sum_pool::rule,
    identity,
];

/// One node on the way back.
pub(super) struct Step<'a> {
    /// The network, to which a rule appends.
    pub(super) model: &'a mut TypedModel,
    /// The node.
    pub(super) node: &'a TypedNode,
    /// The derivative of the network's output with respect to the node's.
    pub(super) dy: OutletId,
    active: &'a HashSet<usize>,
    wired: usize,
}

impl Step<'_> {
    /// The node's operator, if it is a `T`.
    pub(super) fn op<T: TypedOp>(&self) -> Option<&T> {
        self.node.op_as()
    }

    /// The node's output.
    pub(super) fn output(&self) -> OutletId {
        self.node.id.into()
    }

    /// The node's input at `slot`.
    pub(super) fn input(&self, slot: usize) -> OutletId {
        self.node.inputs[slot]
    }

    /// Whether the node's input at `slot` depends on the network's, so that its derivative
    /// is asked for.
    pub(super) fn is_active(&self, slot: usize) -> bool {
        self.active.contains(&self.node.inputs[slot].node)
    }

    /// The shape of a value.
    pub(super) fn shape(&self, outlet: OutletId) -> TractResult<TVec<usize>> {
        let fact = self.model.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete();
        shape.map(Into::into).with_context(|| format!("a shape that is not fixed: {fact:?}"))
    }

    /// Appends a node with one output.
    pub(super) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = self.name();
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// Appends a constant.
    pub(super) fn constant(&mut self, value: Tensor) -> TractResult<OutletId> {
        let name = self.name();
        self.model.add_const(name, value)
    }

    /// Appends a number that goes with everything of the shape of `outlet`.
    pub(super) fn number(&mut self, value: f32, outlet: OutletId) -> TractResult<OutletId> {
        let rank = self.model.outlet_fact(outlet)?.rank();
        self.constant(tensor0(value).broadcast_into_rank(rank)?)
    }

    /// Sums `outlet` over the axes along which the node's input at `slot` was repeated.
    pub(super) fn unbroadcast(&mut self, outlet: OutletId, slot: usize) -> TractResult<OutletId> {
        let (from, to) = (self.shape(outlet)?, self.shape(self.input(slot))?);
        ensure!(from.len() == to.len(), "shapes {from:?} and {to:?}");
        let axes: TVec<usize> = (0..to.len()).filter(|&axis| to[axis] != from[axis]).collect();
        if axes.is_empty() {
            return Ok(outlet);
        }
        self.wire(Reduce::new(axes, Reducer::Sum), &[outlet])
    }

    /// A name that no other node has.
    fn name(&mut self) -> String {
        self.wired += 1;
        format!("{}.gradient.{}", self.node.name, self.wired)
    }
}

/// What passes a value on as it is.
fn identity(step: &mut Step<'_>) -> Pulled {
    Ok(step.op::<Identity>().map(|_| tvec![(0, step.dy)]))
}

/// Appends the derivative with respect to `input` of the sum of `output`'s values, each
/// times the value of `seed`, which has `output`'s shape. Returns where it is.
///
/// # Errors
/// If a node between the two has no rule, by its operator and name, or `output` does not
/// depend on `input`.
pub(super) fn append(
    model: &mut TypedModel,
    input: OutletId,
    output: OutletId,
    seed: OutletId,
) -> TractResult<OutletId> {
    let order = model.eval_order()?;
    let mut active = HashSet::from([input.node]);
    for &id in &order {
        if model.node(id).inputs.iter().any(|outlet| active.contains(&outlet.node)) {
            active.insert(id);
        }
    }
    let mut derivatives = HashMap::from([(output, seed)]);
    for &id in order.iter().rev() {
        let outputs = 0..model.node(id).outputs.len();
        let mut known = outputs.filter_map(|slot| derivatives.get(&OutletId::new(id, slot)));
        let Some(&dy) = known.next() else { continue };
        if id == input.node || !active.contains(&id) {
            continue;
        }
        let node = model.node(id).clone();
        let mut step = Step { model, node: &node, dy, active: &active, wired: 0 };
        let unknown =
            || format!("operator {} of node {:?} has no gradient here", node.op.name(), node.name);
        ensure!(node.outputs.len() == 1, unknown());
        let mut pulled = None;
        for rule in RULES {
            pulled = rule(&mut step).with_context(unknown)?;
            if pulled.is_some() {
                break;
            }
        }
        for (slot, derivative) in pulled.with_context(unknown)? {
            let of = node.inputs[slot];
            if !step.is_active(slot) {
                continue;
            }
            let sum = match derivatives.get(&of) {
                None => derivative,
                Some(&other) => step.wire(math::add(), &[other, derivative])?,
            };
            derivatives.insert(of, sum);
        }
    }
    derivatives.get(&input).copied().context("the scores do not depend on the image")
}
