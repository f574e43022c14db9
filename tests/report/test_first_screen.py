"""The facts of the first screen."""

from eval_reports import changes, face_set, report, restoration_entry, result

from fer_models.report.first_screen import about_faces, facts

SCORES = {"precision": 0.6, "f1": 0.6, "support": 491, "intervals": {}}


def failed(model, emotion, change, recall=0.5):
    fell = changes(-0.02)
    fell[f"recall:{emotion}"] = {"change": change, "p": 0.0002, "failed": True}
    per_class = {emotion: {**SCORES, "recall": recall}}
    return result(model, verdict="FAIL", fails=True, changes=fell, per_class=per_class, id=model)


def test_the_emotion_that_fell_most_comes_first_with_its_recall_before_and_now():
    first = facts(report(results=[failed("a", "fear", -0.05), failed("b", "disgust", -0.2, recall=0.3)]))[0]
    assert first.value == "disgust: 0.500 → 0.300"
    assert "b-raw (-0.200, p 0.0002)" in first.explanation


def test_a_fall_of_a_model_that_passes_is_no_fact():
    fell = changes(-0.001)
    fell["recall:fear"] = {"change": -0.01, "p": 0.5, "failed": False}
    titles = [fact.title for fact in facts(report(results=[result(changes=fell)]))]
    assert titles == ["Most accurate", "Smallest detectable fall"]


def test_the_best_model_is_shown_next_to_the_most_frequent_emotion():
    score = {"value": 0.2449, "low": 0.23, "high": 0.26}
    references = [{"name": name, "n": 7, "accuracy": score} for name in ("always happy", "majority vote")]
    data = {"fer2013/private_test": face_set(references=references)}
    (best,) = facts(report(results=[result("a", 0.7), result("b", 0.6, id="b")], data=data))
    assert best.value == "a-raw: 0.700"
    assert best.explanation.endswith("on 3,589 faces; always happy: 0.245.")


def test_of_several_parts_of_a_split_the_largest_is_the_main_one():
    restored = result("a", 0.9, restoration="bicubic", n=49, id="a-bicubic")
    score = {"value": 0.2449, "low": 0.23, "high": 0.26}
    data = {
        "fer2013/private_test": face_set(
            n=100, references=[{"name": "always happy", "n": 100, "accuracy": score}]
        )
    }
    (best,) = facts(report(results=[restored, result("a", 0.6, n=100)], data=data))
    assert best.value == "a-raw: 0.600"
    assert best.explanation.endswith("on 100 faces; always happy: 0.245.")


def test_a_run_on_corrupted_faces_only_has_a_most_accurate_model():
    (best,) = facts(report(results=[result("a", 0.6, corruption="jpeg@3")]))
    assert best.value == "a-raw: 0.600"


def test_the_control_of_a_restoration_is_no_fact_and_all_models_together_come_first():
    entries = [
        {**restoration_entry(), "restoration": "bicubic"},
        restoration_entry(),
        {**restoration_entry(), "model": "mean of all models", "verdict": "helps"},
    ]
    (fact,) = facts(report(restorations=entries))
    assert (fact.title, fact.value) == ("Restoration with gfpgan", "helps")


def test_at_most_three_facts_are_shown_and_none_for_an_empty_report():
    results = [failed("a", "fear", -0.05), result("b", id="b", changes=changes(0.0))]
    assert len(facts(report(results=results, restorations=[restoration_entry()]))) == 3
    assert facts(report()) == []


def test_faces_are_named_with_their_number_and_a_caution_where_one_is_known():
    data = {"synthetic/test": face_set(n=70, of=1050), "mine/test": face_set(n=5, of=5)}
    (drawn, caution), (mine, nothing) = about_faces(report(data=data))
    assert drawn == "synthetic/test, 70 of 1,050 faces"
    assert "nothing about real faces" in caution
    assert (mine, nothing) == ("mine/test, 5 faces", "")
