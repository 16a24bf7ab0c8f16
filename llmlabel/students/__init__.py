"""Small models trained on the labels. One file per student: `Student` with fit, predict_proba, save, load."""
