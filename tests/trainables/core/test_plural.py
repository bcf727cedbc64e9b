from trainables.core.plural import plural


def test_a_noun_agrees_with_its_count():
    assert [plural(count, "trial") for count in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
    assert [plural(count, "GPU") for count in (0.5, 1.0)] == ["0.5 GPUs", "1 GPU"]


def test_words_that_need_more_than_an_s_are_given():
    counted = [plural(count, "image has", "images have") for count in (0, 1, 2)]
    assert counted == ["0 images have", "1 image has", "2 images have"]
