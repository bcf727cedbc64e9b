from analysis.report.sections.usage import usage


def test_patients_are_predicted_only_where_they_are_known():
    of_patients, of_images = (usage("models:/brains/4", "registered", known).blocks[0].code for known in (True, False))
    assert "tune-predict models:/brains/4 IMAGES" in of_images and "patient" not in of_images
    assert of_patients.endswith('model.predict(images.assign(patient=["P17"]))  # one row for each patient')
    assert usage(None, "not registered").blocks[0].code == ""
