"""
Rare classes
============

Three events in a hundred. What is wanted are probabilities that can be believed, and then a
decision that knows what each mistake costs; balancing the classes is for those who want neither.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import precision_recall_curve, roc_auc_score

from fastbp.sklearn import NetworkClassifier

# %%
# The event lives near a ring.

rng = np.random.default_rng(1)


def draw(n):
    X = rng.normal(size=(n, 2))
    logit = -8.5 + 9.0 * np.exp(-20.0 * (np.hypot(X[:, 0] - 1.2, X[:, 1] - 0.8) - 0.7) ** 2)
    return X, rng.random(n) < 1.0 / (1.0 + np.exp(-logit))


X, event = draw(20000)
X_new, event_new = draw(40000)
print(f"{event.sum()} events in {len(event)} rows")

# %%
# No penalty on the biases, so the probabilities sum to the number of events.

plain = NetworkClassifier(n_neurons=16, random_state=0).fit(X, event)
balanced = NetworkClassifier(n_neurons=16, random_state=0, class_weight="balanced").fit(X, event)
p, p_balanced = (model.predict_proba(X_new)[:, 1] for model in (plain, balanced))
for name, given in (("plain", p), ("balanced", p_balanced)):
    ranking = roc_auc_score(event_new, given)
    print(f"{name}: expects {given.sum():.0f} events of {event_new.sum()}, area {ranking:.3f}")
assert abs(p.sum() / event_new.sum() - 1.0) < 0.15

# %%
# To miss an event costs 30, a false alarm 1: the alarm pays where p > 1/31.

alarm = p > 1.0 / 31.0
for name, decision in (("p > 1/31", alarm), ("p > 1/2", p > 0.5), ("never", p > 1.0)):
    cost = 30.0 * np.sum(event_new & ~decision) + np.sum(~event_new & decision)
    print(f"{name:>9}: {decision.sum():5} alarms, cost {cost:.0f}")

# %%
# Left, observed beside given probabilities, in eight groups that are to have equally many events;
# right, which precision costs which recall.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for name, given in (("plain", p), ("balanced", p_balanced)):
    order = np.argsort(given)
    ends = np.searchsorted(np.cumsum(given[order]) / given.sum(), np.arange(1, 8) / 8.0)
    groups = np.split(order, ends)
    shares = [(given[g].mean(), event_new[g].mean()) for g in groups]
    left.plot(*np.transpose(shares), "o-", label=name)
    precision, recall, _ = precision_recall_curve(event_new, given)
    right.plot(recall, precision, label=name)
left.plot([0.0, 1.0], [0.0, 1.0], "k--", lw=0.8)
left.set(xlabel="probability given", ylabel="share observed")
left.legend()
right.set(xlabel="recall", ylabel="precision")
right.legend()
plt.show()
