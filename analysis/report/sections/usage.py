"""Instructions for loading the registered model."""

from analysis.report.page import Section, Text


def usage(model: str | None, outcome: str, by_patient: bool = False) -> Section:
    """Show how to use the registered model.

    Args:
        model: ``models:/NAME/VERSION``; None if no model is registered.
        outcome: Sentence about the registration.
        by_patient: True to show how to predict patients, too.
    """
    if model is None:
        return Section("How to load the model", "load", [Text("", [outcome])])
    code = (
        f"tune-predict {model} IMAGES --out predictions.csv\n"
        f"mlflow models serve -m {model} --env-manager local\n\n"
        "# In Python. Loading runs the code that is stored with the model.\n"
        "import mlflow, pandas as pd\n"
        f'model = mlflow.pyfunc.load_model("{model}")\n'
        'images = pd.DataFrame({"image": [open("scan.jpg", "rb").read()]})\n'
        "model.predict(images)"
    )
    if by_patient:
        code += '\nmodel.predict(images.assign(patient=["P17"]))  # one row for each patient'
    return Section("How to load the model", "load", [Text("", [outcome], code)])
