"""What can a trained model do?"""
